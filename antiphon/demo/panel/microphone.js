// The person's sound: opens a microphone, hands over PCM16 frames and their loudness.

import { Emitter } from './emitter.js';

/** Why no microphone could be opened: `insecure`, `denied`, `missing`, `busy` or `failed`. */
export class MicrophoneError extends Error {
  constructor(reason, cause) {
    super(`microphone: ${reason}`, { cause });
    this.reason = reason;
  }
}

const REASONS = {
  NotAllowedError: 'denied',
  SecurityError: 'denied',
  NotFoundError: 'missing',
  OverconstrainedError: 'missing',
  NotReadableError: 'busy',
  AbortError: 'busy',
};

const CONSTRAINTS = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: 1,
};

export class Microphone extends Emitter {
  constructor(workletUrl) {
    super();
    this.workletUrl = workletUrl;
    this.isMuted = false;
    this.level = 0;
    this.stream = null;
    this.context = null;
    this.node = null;
  }

  get rate() {
    return this.context ? this.context.sampleRate : 0;
  }

  get label() {
    return this.stream ? this.stream.getAudioTracks()[0].label : '';
  }

  /** Open a microphone (`deviceId` empty: the system's choice). Raises a MicrophoneError. */
  async open(deviceId) {
    const stream = await ask(deviceId);
    await this.close();
    this.stream = stream;
    stream.getAudioTracks()[0].onended = () => this.onEnded(stream);
    this.context = new AudioContext({ latencyHint: 'interactive' });
    await this.context.audioWorklet.addModule(this.workletUrl);
    this.node = new AudioWorkletNode(this.context, 'antiphon-microphone', { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(stream).connect(this.node);
    this.mute(this.isMuted);
    this.context.resume().catch(() => {});
  }

  /** The device is gone; a track that `close` stops does not come here. */
  async onEnded(stream) {
    if (this.stream !== stream) return;
    const { rate } = this;
    await this.close();
    this.emit('lost', { rate });
  }

  take({ pcm, level }) {
    this.level = level;
    this.emit('frame', pcm);
  }

  mute(isMuted) {
    this.isMuted = isMuted;
    if (this.node) this.node.port.postMessage({ isMuted });
  }

  resume() {
    if (this.context) this.context.resume().catch(() => {});
  }

  async close() {
    const { stream, context, node } = this;
    this.stream = this.context = this.node = null;
    this.level = 0;
    if (node) node.port.onmessage = null;
    if (stream) stream.getTracks().forEach((track) => track.stop());
    if (context) await context.close();
  }
}

async function ask(deviceId) {
  if (!window.isSecureContext || !navigator.mediaDevices) throw new MicrophoneError('insecure');
  const audio = deviceId ? { ...CONSTRAINTS, deviceId: { exact: deviceId } } : CONSTRAINTS;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (deviceId && REASONS[error.name] === 'missing') return ask('');
    throw new MicrophoneError(REASONS[error.name] || 'failed', error);
  }
}
