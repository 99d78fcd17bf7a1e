// The last events of the call in both directions, without their sound, for the developer tab.

const MOST = 500;
const QUIET = new Set(['antiphon.ping', 'antiphon.pong', 'antiphon.playback']);

export class EventLog {
  #subscribers = new Set();

  constructor() {
    this.entries = [];
    this.counts = {}; // type -> how many, also of those that are not kept
  }

  /** Note an event; `direction` is 'in' or 'out'. */
  add(direction, event) {
    this.counts[event.type] = (this.counts[event.type] || 0) + 1;
    if (QUIET.has(event.type)) return;
    const entry = { t: performance.now(), direction, type: event.type, event: withoutSound(event) };
    this.entries.push(entry);
    if (this.entries.length > MOST) this.entries.shift();
    for (const subscriber of this.#subscribers) subscriber(entry);
    window.dispatchEvent(new CustomEvent('antiphon:event', { detail: entry }));
  }

  /** Call `subscriber` with each new entry; returns a function that ends it. */
  subscribe(subscriber) {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  clear() {
    this.entries = [];
    this.counts = {};
  }
}

function withoutSound(event) {
  if (typeof event.delta !== 'string' || event.type !== 'response.output_audio.delta') return event;
  return { ...event, delta: `(${event.delta.length} characters)` };
}
