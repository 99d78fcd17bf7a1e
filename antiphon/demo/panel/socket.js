// The websocket of a call: events as JSON, sound as binary frames, and coming back when it is lost.
// Knows no event but its own ping; who listens to it does.

import { Emitter } from './emitter.js';

const FIRST_WAIT_MS = 250; // before the first new try; doubles ...
const MAX_WAIT_MS = 4000; // ... up to this
const CONNECT_PATIENCE_MS = 4000;
const PING_MS = 2000;
const MOST_UNANSWERED = 3; // pings; counted, because a hidden tab's clock may tick once a minute
const ROUND_TRIPS = 5;
const REFUSED = 1008;
const FULL = 1013;
const FULL_WAIT_MS = 5000;

export class CallSocket extends Emitter {
  constructor(url) {
    super();
    this.url = url;
    this.socket = null;
    this.isWanted = false;
    this.wait = FIRST_WAIT_MS;
    this.expected = []; // delta events whose binary frame is still to come
    this.roundTrips = []; // ms, the last few
    this.eventCount = 0;
  }

  get isOpen() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  open() {
    this.isWanted = true;
    this.wait = FIRST_WAIT_MS;
    this.onOnline = () => this.hurry();
    window.addEventListener('online', this.onOnline);
    this.connect();
  }

  close() {
    this.isWanted = false;
    window.removeEventListener('online', this.onOnline);
    this.clearTimers();
    if (this.socket) this.socket.close(1000);
    this.socket = null;
  }

  /** Send an event; gives false where there is nobody to send it to. */
  send(event) {
    if (!this.isOpen) return false;
    this.eventCount += 1;
    const numbered = { event_id: `event_${this.eventCount}`, ...event };
    this.socket.send(JSON.stringify(numbered));
    this.emit('sent', numbered);
    return true;
  }

  sendSound(buffer) {
    if (this.isOpen) this.socket.send(buffer);
  }

  connect() {
    this.clearTimers();
    const socket = new WebSocket(this.url());
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.expected = [];
    this.patience = setTimeout(() => socket.close(), CONNECT_PATIENCE_MS);
    socket.onopen = () => this.onOpen();
    socket.onmessage = ({ data }) => this.onMessage(data);
    socket.onclose = (event) => {
      if (this.socket === socket) this.onClose(event);
    };
  }

  onOpen() {
    clearTimeout(this.patience);
    this.wait = FIRST_WAIT_MS;
    this.nUnanswered = 0;
    this.pinger = setInterval(() => this.ping(), PING_MS);
    this.emit('open');
    this.ping();
  }

  ping() {
    if (this.nUnanswered >= MOST_UNANSWERED) return this.abandon();
    this.nUnanswered += 1;
    this.send({ type: 'antiphon.ping', t: performance.now() });
  }

  /** Give up a socket whose other end does not answer, without waiting for its close. */
  abandon() {
    const socket = this.socket;
    socket.onclose = socket.onmessage = null;
    socket.close();
    this.onClose({ code: 1006, reason: '' });
  }

  onMessage(data) {
    this.nUnanswered = 0; // whatever it says, it is there
    if (typeof data !== 'string') {
      const delta = this.expected.shift();
      if (delta) this.emit('sound', { delta, buffer: data });
      return;
    }
    const event = JSON.parse(data);
    if (event.type === 'antiphon.pong') this.noteRoundTrip(performance.now() - event.t);
    if (event.type === 'response.output_audio.delta') this.onSoundEvent(event);
    this.emit('event', event);
  }

  noteRoundTrip(ms) {
    this.roundTrips.push(ms);
    if (this.roundTrips.length > ROUND_TRIPS) this.roundTrips.shift();
  }

  /** The network's share: the quickest of the last answers, in ms; the others waited for the page. */
  get roundTripMs() {
    return this.roundTrips.length ? Math.min(...this.roundTrips) : null;
  }

  onSoundEvent(event) {
    if (event.delta) this.emit('sound', { delta: event, buffer: fromBase64(event.delta) });
    else this.expected.push(event);
  }

  onClose({ code, reason }) {
    this.clearTimers();
    this.socket = null;
    if (!this.isWanted) return;
    if (code === REFUSED) {
      this.close();
      this.emit('refused', { reason });
      return;
    }
    const waitMs = code === FULL ? FULL_WAIT_MS : this.wait;
    this.wait = Math.min(MAX_WAIT_MS, this.wait * 2);
    this.retry = setTimeout(() => this.connect(), waitMs);
    this.emit('lost', { isFull: code === FULL });
  }

  /** Try again now. */
  hurry() {
    if (this.isWanted && this.socket === null) this.connect();
  }

  clearTimers() {
    clearTimeout(this.patience);
    clearTimeout(this.retry);
    clearInterval(this.pinger);
  }
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
