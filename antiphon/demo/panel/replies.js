// Follows the replies of a call: events in, conversation items and the player's orders out.

const MAX_KEPT_S = 120; // of the last reply's sound, for drawing it

export class Replies {
  constructor(conversation, player) {
    this.conversation = conversation;
    this.player = player;
    this.active = null; // id of the response under way
    this.itemId = null; // its item
    this.refused = new Set(); // responses that were stopped here
    this.last = null; // the last reply's sound and figures
    this.lastTimings = null;
  }

  get isActive() {
    return this.active !== null;
  }

  reset() {
    this.active = this.itemId = null;
    this.refused.clear();
  }

  /** Take an event, if it is about a reply; tells whether it was. */
  take(event) {
    const handler = this[event.type];
    if (handler) handler.call(this, event);
    return Boolean(handler);
  }

  /** Let nothing more be heard of the reply under way. */
  refuse() {
    if (this.itemId) this.player.refuse(this.itemId);
    if (this.active) this.refused.add(this.active);
  }

  'response.created'({ response }) {
    this.active = response.id;
    this.itemId = null;
  }

  'response.output_item.added'({ response_id, item }) {
    this.itemId = item.id;
    if (this.refused.has(response_id)) this.player.refuse(item.id);
    this.conversation.put(item.id, { role: 'assistant', status: 'in_progress' });
  }

  'response.output_audio_transcript.delta'({ item_id, delta, antiphon = {} }) {
    this.conversation.addText(item_id, delta, antiphon.words);
  }

  'response.output_text.delta'({ item_id, delta }) {
    this.conversation.put(item_id, { kind: 'text' });
    this.conversation.addText(item_id, delta);
  }

  'antiphon.words'({ item_id, words }) {
    this.conversation.put(item_id, { words }); // with the true length known: instead of the estimates
  }

  'response.output_audio.done'({ item_id }) {
    this.player.end(item_id);
  }

  'response.done'({ response }) {
    if (this.active === response.id) this.active = null;
    const { antiphon = {}, status, output = [] } = response;
    const itemId = output.length ? output[0].id : this.itemId;
    if (this.last && this.last.item_id === itemId) Object.assign(this.last, { details: antiphon });
    if (!itemId || !this.conversation.get(itemId)) return;
    this.player.end(itemId);
    const item = this.conversation.get(itemId);
    const shown = status === 'cancelled' || item.status === 'cut' ? 'cut' : status;
    this.conversation.put(itemId, {
      status: shown,
      details: antiphon,
      audio_ms: antiphon.audio_ms || item.audio_ms,
      has_clip: item.kind === 'speech' && item.audio_ms > 0,
    });
  }

  'conversation.item.truncated'({ item_id, audio_end_ms }) {
    if (!this.conversation.get(item_id)) return;
    this.conversation.put(item_id, { heard_ms: audio_end_ms, status: 'cut' });
  }

  /** Take a chunk of a reply's sound. */
  takeSound({ delta, buffer }) {
    const { item_id, response_id, antiphon = {} } = delta;
    if (antiphon.timings) this.lastTimings = { ...antiphon.timings, item_id };
    if (this.refused.has(response_id)) return;
    this.keep(item_id, buffer);
    const item = this.conversation.get(item_id);
    const added = buffer.byteLength / 2 / 24;
    this.conversation.put(item_id, { audio_ms: (item ? item.audio_ms : 0) + added });
    this.player.add(item_id, buffer);
  }

  keep(itemId, buffer) {
    if (!this.last || this.last.item_id !== itemId) {
      this.last = { item_id: itemId, chunks: [], n_samples: 0, details: {} };
    }
    if (this.last.n_samples > MAX_KEPT_S * 24000) return;
    const samples = new Int16Array(buffer.slice(0));
    this.last.chunks.push(samples);
    this.last.n_samples += samples.length;
  }

  /** The last reply for drawing: samples in [-1, 1] at 24 kHz and what was played of it. */
  lastReply() {
    if (!this.last) return null;
    const samples = new Float32Array(this.last.n_samples);
    let at = 0;
    for (const chunk of this.last.chunks) {
      for (const sample of chunk) samples[at++] = sample / 32768;
    }
    const { item_id, details } = this.last;
    const item = this.conversation.get(item_id);
    const played_ms = item ? item.played_ms : 0;
    return { item_id, sample_rate: 24000, samples, played_ms, details, text: item ? item.text : '' };
  }
}
