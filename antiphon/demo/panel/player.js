// The reply's sound on this side of the worklet: one audio context at 24 kHz, what was played of each
// item, how the buffer did. Knows items only by their ids.

import { Emitter } from './emitter.js';

export const SAMPLE_RATE = 24000;
const FILL_MS = 80; // as in player_worklet.js
const HOLD_MS = 40;
const HOLD_STEP_MS = 20; // longer after each underrun ...
const MAX_BUFFER_MS = 200; // ... up to this together with the fill
const CALM_REPLIES = 3; // replies without an underrun after which a step is taken back
const MAX_KNOWN_ITEMS = 200;

const toMs = (samples) => (samples * 1000) / SAMPLE_RATE;

export class Player extends Emitter {
  constructor(workletUrl) {
    super();
    this.workletUrl = workletUrl;
    this.context = null;
    this.node = null;
    this.current = null; // item that sounds or waits to
    this.items = new Map(); // id -> what happened to its sound
    this.holdMs = HOLD_MS;
    this.calmReplies = 0;
    this.level = 0;
    this.speed = 1;
    this.counts = { underruns: 0, replies: 0, flushes: [] };
    this.flushedAt = 0;
  }

  get bufferMs() {
    return FILL_MS + this.holdMs;
  }

  get isSounding() {
    return this.current !== null;
  }

  /** Milliseconds between a sample's leaving the graph and its being heard. */
  get outputLatencyMs() {
    const { baseLatency = 0, outputLatency = 0 } = this.context || {};
    return (baseLatency + outputLatency) * 1000;
  }

  /** Make the audio graph; must be called from a click, or browsers keep it silent. */
  async open(sinkId) {
    if (this.context) return this.resume();
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: 'interactive' });
    this.context.onstatechange = () => this.emit('running', this.isRunning);
    const woken = this.resume();
    await this.context.audioWorklet.addModule(this.workletUrl);
    this.node = new AudioWorkletNode(this.context, 'antiphon-player', {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.node.port.onmessage = ({ data }) => this[`on_${data.type}`](data);
    this.node.connect(this.context.destination);
    this.setSpeed(this.speed);
    this.setHold(this.holdMs); // what the last call has learnt
    if (sinkId) await this.setSink(sinkId);
    return woken;
  }

  get isRunning() {
    return this.context !== null && this.context.state === 'running';
  }

  /** Ask the browser to let sound out; tells whether it does within a moment. */
  async resume() {
    const patience = new Promise((done) => setTimeout(done, 400));
    await Promise.race([this.context.resume().catch(() => {}), patience]);
    return this.isRunning;
  }

  async setSink(sinkId) {
    if (this.context && this.context.setSinkId) await this.context.setSinkId(sinkId);
  }

  /** How fast replies are played that begin from now on, at their own pitch; 1 is as spoken. */
  setSpeed(speed) {
    this.speed = speed;
    if (this.node) this.node.port.postMessage({ type: 'pace', speed });
  }

  /** Take a chunk of PCM16 of an item. */
  add(itemId, buffer) {
    const item = this.known(itemId);
    if (item.isClosed || !this.node) return;
    const samples = new Int16Array(buffer);
    if (item.arrivedAt === null) item.arrivedAt = performance.now();
    item.receivedMs += toMs(samples.length);
    if (this.current === null) this.current = itemId;
    this.node.port.postMessage({ type: 'audio', key: itemId, samples }, [samples.buffer]);
  }

  /** Say that no more sound of an item will come. */
  end(itemId) {
    const item = this.items.get(itemId);
    if (!item || item.isClosed || !this.node) return;
    this.node.port.postMessage({ type: 'end', key: itemId });
  }

  /** Fall silent within the fade; nothing of the items known so far sounds later. */
  flush() {
    if (!this.node || this.current === null) return false;
    for (const item of this.items.values()) item.isClosed = true;
    this.flushedAt = performance.now();
    this.node.port.postMessage({ type: 'flush' });
    return true;
  }

  /** Never let an item be heard, or heard again. */
  refuse(itemId) {
    this.known(itemId).isClosed = true;
  }

  async close() {
    const { context } = this;
    this.context = this.node = this.current = null;
    this.level = 0;
    if (context) await context.close();
  }

  known(itemId) {
    if (!this.items.has(itemId)) this.items.set(itemId, newItem());
    if (this.items.size > MAX_KNOWN_ITEMS) this.items.delete(this.items.keys().next().value);
    return this.items.get(itemId);
  }

  on_started({ key }) {
    const item = this.known(key);
    item.startedAt = performance.now();
    this.current = key;
    this.emit('started', { itemId: key, waitedMs: item.startedAt - item.arrivedAt });
  }

  on_progress({ key, played, bufferedMs, isRunning, level }) {
    const item = this.known(key);
    item.playedMs = toMs(played);
    this.level = level;
    this.emit('progress', { itemId: key, playedMs: item.playedMs, bufferedMs, isRunning });
  }

  on_underrun({ key }) {
    this.counts.underruns += 1;
    this.calmReplies = 0;
    this.setHold(this.holdMs + HOLD_STEP_MS);
    this.emit('underrun', { itemId: key, bufferMs: this.bufferMs });
  }

  on_spent() {} // played chunks come back so that they are swept here

  on_done({ key, played, underruns, wasFlushed }) {
    const item = this.known(key);
    Object.assign(item, { playedMs: toMs(played), underruns, wasFlushed, isClosed: true });
    this.counts.replies += 1;
    if (wasFlushed) this.counts.flushes.push(performance.now() - this.flushedAt);
    else this.noteCalm(underruns);
    if (this.current === key) this.current = this.nextWaiting();
    this.level = 0;
    this.emit('done', { itemId: key, playedMs: item.playedMs, wasFlushed, underruns });
  }

  nextWaiting() {
    const waiting = [...this.items].find(([, item]) => item.arrivedAt !== null && !item.isClosed);
    return waiting ? waiting[0] : null;
  }

  noteCalm(underruns) {
    this.calmReplies = underruns ? 0 : this.calmReplies + 1;
    if (this.calmReplies < CALM_REPLIES) return;
    this.calmReplies = 0;
    this.setHold(this.holdMs - HOLD_STEP_MS);
  }

  setHold(ms) {
    this.holdMs = Math.max(HOLD_MS, Math.min(MAX_BUFFER_MS - FILL_MS, ms));
    if (this.node) this.node.port.postMessage({ type: 'hold', ms: this.holdMs });
  }

  /** What happened so far, for whoever measures. */
  stats() {
    return {
      underruns: this.counts.underruns,
      bufferMs: this.bufferMs,
      outputLatencyMs: this.outputLatencyMs,
      flushMs: this.counts.flushes.slice(-20),
      items: Object.fromEntries([...this.items].slice(-20)),
    };
  }
}

function newItem() {
  return {
    arrivedAt: null,
    startedAt: null,
    receivedMs: 0,
    playedMs: 0,
    underruns: 0,
    wasFlushed: false,
    isClosed: false,
  };
}
