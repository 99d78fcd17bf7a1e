// What a person or the page has chosen, kept in the browser, and the session.update it makes.

import { Emitter } from './emitter.js';

const STORE = 'antiphon.settings';
const DEFAULTS = {
  mode: 'hands_free', // or push_to_talk
  half_duplex: false,
  echo_guard: true,
  interrupt: true,
  sensitivity: 50, // 0 to 100; higher hears more
  silence_ms: 400,
  speed: 1, // of playback, at the same pitch; the server always speaks at its own
  prefix_padding_ms: 300,
  microphone: '',
  speaker: '',
  hint_seen: false,
};
const KEPT = Object.keys(DEFAULTS); // the page keeps its own

export class Settings extends Emitter {
  constructor() {
    super();
    this.values = { ...DEFAULTS, ...readStore() };
  }

  get(name) {
    return this.values[name];
  }

  /** Change some; names that `sessionUpdate` does not know stay here. */
  set(changes) {
    const changed = Object.keys(changes).filter((name) => changes[name] !== this.values[name]);
    if (changed.length === 0) return;
    Object.assign(this.values, changes);
    const kept = Object.fromEntries(KEPT.map((name) => [name, this.values[name]]));
    writeStore(JSON.stringify(kept));
    this.emit('changed', changed);
  }

  /** The event that tells a server all of this; `rate` is the microphone's in Hz. */
  sessionUpdate(rate) {
    const { values } = this;
    return {
      type: 'session.update',
      session: defined({
        type: 'realtime',
        output_modalities: ['audio'],
        audio: {
          input: defined({
            format: rate ? { type: 'audio/pcm', rate } : undefined,
            turn_detection: this.turnDetection(),
          }),
          output: defined({ voice: values.voice || undefined }),
        },
        instructions: values.instructions,
        max_output_tokens: values.max_tokens,
        temperature: values.temperature,
        antiphon: this.extensions(),
      }),
    };
  }

  turnDetection() {
    const { values } = this;
    if (values.mode === 'push_to_talk') return null;
    return {
      type: 'server_vad',
      threshold: Math.round((0.9 - values.sensitivity * 0.008) * 100) / 100,
      prefix_padding_ms: values.prefix_padding_ms,
      silence_duration_ms: values.silence_ms,
      create_response: true,
      interrupt_response: values.interrupt,
    };
  }

  extensions() {
    const { top_p, seed, half_duplex, echo_guard, language, show_tokens } = this.values;
    const drawn = seed === undefined || seed === null || seed < 0 ? null : seed;
    return defined({ top_p, seed: drawn, half_duplex, echo_guard, language, show_tokens });
  }
}

function defined(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function readStore() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE)) || {};
    return Object.fromEntries(KEPT.filter((name) => name in kept).map((name) => [name, kept[name]]));
  } catch {
    return {}; // a store that is closed or spoilt is as good as an empty one
  }
}

function writeStore(text) {
  try {
    localStorage.setItem(STORE, text);
  } catch {
    // private windows may refuse; the choice then holds until the page is closed
  }
}
