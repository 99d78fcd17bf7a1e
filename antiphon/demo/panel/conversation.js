// The conversation as people see it: items by id, in order, built from the server's events.
// Knows nothing of sound but how much of each item was heard.

import { Emitter } from './emitter.js';

const ID_STORE = 'antiphon.conversation';
const USED_STORE = 'antiphon.conversation.used';

export class Conversation extends Emitter {
  constructor() {
    super();
    this.items = new Map();
    this.id = readId();
  }

  /** Whether this browser has spoken in it before. */
  get wasUsed() {
    return read(USED_STORE) === this.id;
  }

  begin(id = newId()) {
    this.id = id;
    this.items.clear();
    write(ID_STORE, id);
    this.emit('reset', id);
  }

  /** Take the server's own list: it is the truth after a reload or a reconnection. */
  restore(items, id = this.id) {
    if (id !== this.id) this.begin(id);
    const before = new Map(this.items);
    this.items.clear();
    this.emit('reset', this.id);
    for (const item of items) this.put(item.id, { ...before.get(item.id), ...fromServer(item) });
  }

  /** Mark what the server no longer knows, all but what it has not had yet; gives how much. */
  forget() {
    const known = [...this.items.values()].filter((item) => !item.is_unsent && !item.is_forgotten);
    for (const { id } of known) this.put(id, { is_forgotten: true, has_clip: false });
    return known.length;
  }

  put(id, changes) {
    const isNew = !this.items.has(id);
    const item = Object.assign(this.items.get(id) || blank(id), changes);
    this.items.set(id, item);
    if (isNew) write(USED_STORE, this.id);
    this.emit('changed', item);
    return item;
  }

  get(id) {
    return this.items.get(id);
  }

  remove(id) {
    if (this.items.delete(id)) this.emit('removed', id);
  }

  addText(id, text, words = []) {
    const item = this.items.get(id) || blank(id);
    this.put(id, { text: item.text + text, words: [...item.words, ...words] });
  }

  /** Note how much of a reply's sound has left the player. */
  heard(id, playedMs) {
    const item = this.items.get(id);
    if (item) this.emit('heard', Object.assign(item, { played_ms: playedMs }));
  }

  /** Take an item of the shape the realtime events have. */
  putWire({ id, role, status, content = [] }) {
    const part = content[0] || {};
    const kind = /text$/.test(part.type || '') ? 'text' : 'speech';
    const text = part.transcript || part.text || '';
    const before = this.items.get(id);
    this.put(id, {
      role,
      is_unsent: false,
      kind: before ? before.kind : kind,
      text: text || (before ? before.text : ''),
      status: status === 'incomplete' ? 'cut' : status || 'completed',
    });
  }
}

function blank(id) {
  return {
    id,
    role: 'assistant',
    kind: 'speech',
    text: '',
    words: [],
    audio_ms: 0,
    played_ms: 0,
    heard_ms: null,
    status: 'in_progress',
    has_clip: false,
    is_live: true, // seen as it came, not read from the history
    is_unsent: false, // typed here, and the server has not said that it has it
    is_forgotten: false, // the server has it no longer
    details: {},
  };
}

function fromServer(item) {
  return { ...item, is_live: false };
}

/** Make an id of 32 hexadecimal digits; works on insecure pages too. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function readId() {
  const kept = read(ID_STORE);
  if (kept && /^[0-9a-f]{32}$/.test(kept)) return kept;
  const id = newId();
  write(ID_STORE, id);
  return id;
}

function read(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // without a store the conversation ends with the page
  }
}
