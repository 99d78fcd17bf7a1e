// One call from the first click to hanging up: microphone, socket, player and whose turn it is.
// Knows nothing of the document; the panel shows what it emits.

import { Conversation, newId } from './conversation.js';
import { Emitter } from './emitter.js';
import { EventLog } from './event_log.js';
import { Microphone } from './microphone.js';
import { Player } from './player.js';
import { Presence } from './presence.js';
import { Replies } from './replies.js';
import { CallSocket } from './socket.js';
import { SocketEvents } from './socket_events.js';

const INTERRUPTED_MS = 1200; // how long the word stays
const UPDATE_DELAY_MS = 150; // sliders send their last value only
const TAP_MS = 150; // a shorter press of the talk button says nothing
const REPORT_EVERY = 4; // progress reports, about 200 ms
const OF_A_CALL = ['lost', 'unreachable', 'full', 'microphone_lost']; // problems that end with it
const FRAME_MS = 20; // as in capture_worklet.js
const LAST_SILENCE_MS = 500; // beyond what ends a turn, when the microphone is gone

export class Call extends Emitter {
  constructor({ settings, socketUrl, workletUrl }) {
    super();
    this.settings = settings;
    this.log = new EventLog();
    this.conversation = new Conversation();
    this.presence = new Presence();
    this.player = new Player(workletUrl('player_worklet.js'));
    this.microphone = new Microphone(workletUrl('capture_worklet.js'));
    this.replies = new Replies(this.conversation, this.player);
    this.socket = new CallSocket(() => socketUrl(this.conversation.id));
    this.state = 'idle';
    this.reset();
    this.events = new SocketEvents(this);
    this.listenToParts();
  }

  reset() {
    this.isWanted = false; // between start and hanging up
    this.isReady = false; // the server has opened the session
    this.hasStood = false; // it had done so once
    this.isFull = false; // it had no place for this call
    this.hasFailed = false;
    this.serverView = 'listening';
    this.queue = null;
    this.isInterrupted = false;
    this.isTalking = false; // the talk button is held
    this.isMicrophoneLost = false; // went away in the call; the next one is taken up
    this.outbox = [];
    this.isReplyWanted = false; // as soon as the one under way is over
    this.framesSent = 0;
  }

  listenToParts() {
    const { player, microphone, socket, settings } = this;
    microphone.on('frame', (pcm) => this.sendFrame(pcm));
    microphone.on('lost', ({ rate }) => this.onMicrophoneLost(rate));
    player.on('started', () => this.refresh());
    player.on('running', (isRunning) => this.onPlayerRunning(isRunning));
    player.on('progress', (progress) => this.onProgress(progress));
    player.on('done', (result) => this.onPlayed(result));
    socket.on('sent', (event) => this.log.add('out', event));
    settings.on('changed', (names) => this.onSettings(names));
    if (navigator.mediaDevices) {
      navigator.mediaDevices.addEventListener('devicechange', () => this.onDevices());
    }
    this.presence.on('stolen', () => this.fail('other_tab', { keepsLock: true }));
  }

  // starting and ending

  /** Open a call; `force` takes it from another tab. Must come from a click or a key. */
  async start({ withMicrophone = true, force = false } = {}) {
    if (this.isWanted) return;
    this.reset();
    this.isWanted = true;
    this.replies.reset();
    this.setMuted(false);
    this.refresh();
    this.player.setSpeed(this.settings.get('speed'));
    const sound = this.player.open(this.settings.get('speaker')).catch(() => false);
    if (!(await this.presence.claim(force))) return this.fail('taken');
    try {
      if (withMicrophone) await this.microphone.open(this.settings.get('microphone'));
    } catch (error) {
      return this.fail(`microphone_${error.reason || 'failed'}`);
    }
    if (!this.isWanted) return this.release(); // hung up while the browser asked
    this.socket.open();
    this.emit('started', { label: this.microphone.label });
    if (!(await sound)) this.emit('problem', { code: 'autoplay' });
  }

  /** Let the person speak in a call that was opened for typing, or has lost its microphone. */
  async addMicrophone() {
    if (!this.isWanted || this.isAddingMicrophone) return;
    this.isAddingMicrophone = true;
    try {
      await this.microphone.open(this.settings.get('microphone'));
    } catch (error) {
      return this.emit('problem', { code: `microphone_${error.reason || 'failed'}` });
    } finally {
      this.isAddingMicrophone = false;
    }
    if (!this.isWanted) return this.microphone.close(); // hung up while the browser asked
    this.isMicrophoneLost = false;
    if (this.isReady) this.sendSettings(); // this one's rate may be another
    this.emit('started', { label: this.microphone.label });
    this.refresh();
  }

  /** Go on without a microphone; what was half said ends with silence, so that it is answered. */
  onMicrophoneLost(rate) {
    if (!this.isWanted) return;
    this.isMicrophoneLost = true;
    if (this.isReady && !this.isPushToTalk) {
      const n_frames = (this.settings.get('silence_ms') + LAST_SILENCE_MS) / FRAME_MS;
      const silence = new Int16Array(Math.round((rate * FRAME_MS) / 1000)).buffer;
      for (let n = 0; n < n_frames; n += 1) this.socket.sendSound(silence);
    }
    this.emit('problem', { code: 'microphone_lost' });
    this.refresh();
  }

  /** Devices came or went: take up a microphone that was plugged in, if one is missing. */
  async onDevices() {
    if (!this.isWanted || !this.isMicrophoneLost) return;
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (devices.some(({ kind }) => kind === 'audioinput')) await this.addMicrophone();
  }

  get hasMicrophone() {
    return this.microphone.stream !== null;
  }

  async hangUp() {
    if (!this.isWanted) return;
    if (this.replies.isActive) this.socket.send({ type: 'response.cancel' });
    this.isWanted = false;
    this.cut();
    this.refresh();
    await new Promise((done) => setTimeout(done, 60)); // the fade, and what was heard goes out
    if (!this.isWanted) await this.release();
  }

  /** End the call with a reason that stays on the page. */
  async fail(code, { params = {}, keepsLock = false } = {}) {
    this.isWanted = false;
    this.hasFailed = code !== 'other_tab' && code !== 'taken';
    this.refresh();
    this.emit('problem', { code, params });
    await this.release(keepsLock);
  }

  async release(keepsLock = false) {
    this.isReady = false;
    this.socket.close();
    if (!keepsLock) this.presence.end();
    for (const code of OF_A_CALL) this.emit('solved', code);
    await Promise.all([this.microphone.close(), this.player.close()]);
    this.refresh();
  }

  onPlayerRunning(isRunning) {
    if (isRunning) this.emit('solved', 'autoplay');
    else if (this.isWanted) this.emit('problem', { code: 'autoplay' });
  }

  async unlockSound() {
    this.microphone.resume();
    await this.player.resume();
  }

  // what the person does

  setMuted(isMuted) {
    this.microphone.mute(isMuted);
    this.emit('muted', isMuted);
    this.refresh();
  }

  /** Stop the reply under way: neither said nor heard any further. */
  stop() {
    if (this.replies.isActive) this.socket.send({ type: 'response.cancel' });
    this.cut();
  }

  /** Fall silent and let nothing more be heard of the reply; the server hears how far it got. */
  cut() {
    const wasSounding = this.player.isSounding;
    this.replies.refuse();
    this.player.flush();
    if (wasSounding && this.isWanted) this.showInterrupted();
  }

  showInterrupted() {
    this.isInterrupted = true;
    clearTimeout(this.interruptedTimer);
    this.interruptedTimer = setTimeout(() => {
      this.isInterrupted = false;
      this.refresh();
    }, INTERRUPTED_MS);
    this.refresh();
  }

  get isPushToTalk() {
    return this.settings.get('mode') === 'push_to_talk';
  }

  press() {
    if (!this.isReady || this.isTalking || !this.hasMicrophone) return;
    this.isTalking = true;
    this.pressedAt = performance.now();
    if (this.isPushToTalk) {
      this.stop();
      this.socket.send({ type: 'input_audio_buffer.clear' });
    } else if (this.microphone.isMuted) {
      this.wasMuted = true;
      this.setMuted(false);
    }
    this.refresh();
  }

  letGo() {
    if (!this.isTalking) return;
    this.isTalking = false;
    if (this.wasMuted) this.setMuted(true);
    this.wasMuted = false;
    if (this.isPushToTalk) this.endTalk(performance.now() - this.pressedAt);
    this.refresh();
  }

  endTalk(heldMs) {
    if (heldMs < TAP_MS) {
      this.socket.send({ type: 'input_audio_buffer.clear' });
      this.emit('problem', { code: 'too_short', passes: true });
      return;
    }
    this.serverView = 'thinking';
    this.socket.send({ type: 'input_audio_buffer.commit' });
    this.askForReply();
  }

  /** Ask for a reply, once the one that is being cancelled is over. */
  askForReply() {
    this.isReplyWanted = this.replies.isActive;
    if (!this.isReplyWanted) this.socket.send({ type: 'response.create' });
  }

  askIfWanted() {
    if (this.isReplyWanted) this.askForReply();
  }

  /** Say something in writing; opens a call without a microphone where there is none. */
  sendText(text) {
    const words = text.trim();
    if (!words) return;
    if (!this.isWanted) this.start({ withMicrophone: false });
    const id = `item_${newId().slice(0, 24)}`;
    const typed = { role: 'user', kind: 'text', text: words, status: 'completed' };
    this.conversation.put(id, { ...typed, is_unsent: true });
    const content = [{ type: 'input_text', text: words }];
    const item = { id, type: 'message', role: 'user', content };
    this.outbox.push({ type: 'conversation.item.create', item });
    if (this.isReady) this.post();
  }

  /** Send what was typed, also before the call was open. */
  post() {
    const events = this.outbox.splice(0);
    if (events.length === 0) return;
    this.stop();
    for (const event of events) this.socket.send(event);
    this.askForReply();
  }

  /** Leave this conversation and begin a new one; a call under way goes on in it. */
  async renew() {
    const { isWanted } = this;
    const withMicrophone = this.hasMicrophone;
    if (isWanted) await this.hangUp();
    this.conversation.begin();
    if (isWanted) await this.start({ withMicrophone });
  }

  // what the parts report

  sendFrame(pcm) {
    if (!this.isReady || (this.isPushToTalk && !this.isTalking)) return;
    this.framesSent += 1;
    this.socket.sendSound(pcm);
  }

  sendSettings() {
    this.socket.send(this.settings.sessionUpdate(this.microphone.rate));
  }

  async onSettings(names) {
    if (names.includes('speed')) this.player.setSpeed(this.settings.get('speed'));
    if (names.includes('speaker')) await this.player.setSink(this.settings.get('speaker'));
    if (names.includes('microphone') && this.isMicrophoneLost) await this.addMicrophone();
    else if (names.includes('microphone') && this.hasMicrophone) await this.changeMicrophone();
    clearTimeout(this.updateTimer);
    this.updateTimer = setTimeout(() => this.isReady && this.sendSettings(), UPDATE_DELAY_MS);
    this.refresh();
  }

  async changeMicrophone() {
    try {
      await this.microphone.open(this.settings.get('microphone'));
    } catch (error) {
      this.emit('problem', { code: `microphone_${error.reason || 'failed'}` });
    }
  }

  onProgress({ itemId, playedMs, bufferedMs, isRunning }) {
    this.conversation.heard(itemId, playedMs - this.player.outputLatencyMs);
    this.reports = (this.reports || 0) + 1;
    if (this.reports % REPORT_EVERY === 0) this.report(itemId, playedMs, bufferedMs, isRunning);
  }

  report(itemId, playedMs, bufferedMs, isPlaying) {
    this.socket.send({
      type: 'antiphon.playback',
      item_id: itemId,
      played_ms: Math.round(playedMs),
      buffered_ms: Math.round(bufferedMs),
      underruns: this.player.counts.underruns,
      is_playing: isPlaying,
    });
  }

  onPlayed({ itemId, playedMs, wasFlushed }) {
    const heard_ms = Math.round(playedMs);
    this.conversation.heard(itemId, playedMs);
    if (wasFlushed) {
      const where = { item_id: itemId, content_index: 0, audio_end_ms: heard_ms };
      this.socket.send({ type: 'conversation.item.truncate', ...where });
      this.conversation.put(itemId, { heard_ms, status: 'cut' });
    }
    this.report(itemId, playedMs, 0, false);
    this.refresh();
  }

  // what it amounts to

  /** Work out the state from what is known and tell it, if it is another. */
  refresh() {
    const state = this.work();
    if (state === this.state) return;
    this.state = state;
    this.emit('state', state);
  }

  work() {
    if (!this.isWanted) return this.hasFailed ? 'error' : 'idle';
    if (!this.isReady) return this.workUnready();
    if (this.queue) return 'queued';
    if (this.isTalking && this.isPushToTalk) return 'hearing';
    if (this.isInterrupted) return 'interrupted';
    if (this.player.isSounding) return 'speaking';
    if (this.serverView === 'hearing') return 'hearing';
    if (this.replies.isActive || this.serverView === 'thinking') return 'thinking';
    return this.isMicrophoneLost ? 'deaf' : 'listening';
  }

  workUnready() {
    if (this.isFull) return 'full';
    return this.hasStood ? 'reconnecting' : 'connecting';
  }
}
