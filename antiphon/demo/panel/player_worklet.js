// Plays the reply sample by sample: waits until enough is buffered, fades, counts what left it.
// Knows nothing of the network; one segment is the sound of one reply item.

const FADE_MS = 8; // at the start, at the end and when flushed
const FILL_MS = 80; // buffered before the first sample ...
const PROGRESS_QUANTA = 10; // a report about every 50 ms at 24 kHz

const toSamples = (ms) => Math.round((ms * sampleRate) / 1000);
const toMs = (samples) => (samples * 1000) / sampleRate;

class Segment {
  constructor(key) {
    this.key = key;
    this.chunks = [];
    this.spent = []; // chunks that were played
    this.offset = 0; // samples of the first chunk that were played
    this.buffered = 0;
    this.played = 0;
    this.underruns = 0;
    this.hasEnded = false; // nothing more will come
    this.wasFlushed = false;
    this.hasStarted = false;
    this.isRunning = false;
    this.isDry = false; // ran out; an underrun only if more comes
    this.startFrame = Infinity;
  }

  push(samples) {
    this.chunks.push(samples);
    this.buffered += samples.length;
  }

  take() {
    const chunk = this.chunks[0];
    const sample = chunk[this.offset] / 32768;
    this.offset += 1;
    this.buffered -= 1;
    this.played += 1;
    if (this.offset === chunk.length) {
      this.spent.push(this.chunks.shift());
      this.offset = 0;
    }
    return sample;
  }

  /** Keep only the next `count` samples and take no more. */
  cut(count) {
    this.buffered = Math.min(this.buffered, count);
    this.hasEnded = true;
    this.wasFlushed = true;
  }
}

class ReplyPlayer extends AudioWorkletProcessor {
  constructor() {
    super();
    this.segments = [];
    this.holdMs = 40; // ... and waited after that; the page makes it longer after an underrun
    this.gain = 0;
    this.energy = 0;
    this.quanta = 0;
    this.fade = toSamples(FADE_MS);
    this.port.onmessage = ({ data }) => this[data.type](data);
  }

  audio({ key, samples }) {
    const segment = this.find(key) || this.open(key);
    if (segment.hasEnded) return this.giveBack([samples]);
    if (segment.isDry) this.noteUnderrun(segment);
    segment.push(samples);
    this.schedule(segment);
  }

  end({ key }) {
    const segment = this.find(key) || this.open(key);
    segment.hasEnded = true;
    this.schedule(segment);
  }

  hold({ ms }) {
    this.holdMs = ms;
  }

  flush() {
    const head = this.segments[0];
    for (const dropped of this.segments.splice(1)) this.close(dropped, true);
    if (head && head.isRunning) head.cut(this.fade);
    else if (head) this.close(this.segments.shift(), true);
  }

  find(key) {
    return this.segments.find((segment) => segment.key === key);
  }

  open(key) {
    const segment = new Segment(key);
    this.segments.push(segment);
    return segment;
  }

  close(segment, wasFlushed = segment.wasFlushed) {
    const { key, played, underruns } = segment;
    this.giveBack(segment.spent);
    this.giveBack(segment.chunks);
    this.port.postMessage({ type: 'done', key, played, underruns, wasFlushed });
  }

  /** This thread's memory is hardly ever swept, the page's is. */
  giveBack(chunks) {
    const buffers = chunks.splice(0).map(({ buffer }) => buffer);
    if (buffers.length) this.port.postMessage({ type: 'spent', buffers }, buffers);
  }

  noteUnderrun(segment) {
    segment.isDry = false;
    segment.underruns += 1;
    this.port.postMessage({ type: 'underrun', key: segment.key });
  }

  /** Decide when a waiting segment may start; a complete one need not wait. */
  schedule(segment) {
    if (segment.isRunning || segment.startFrame !== Infinity) {
      if (segment.hasEnded) segment.startFrame = Math.min(segment.startFrame, currentFrame);
      return;
    }
    if (segment.hasEnded) segment.startFrame = currentFrame;
    else if (segment.buffered >= toSamples(FILL_MS)) {
      segment.startFrame = currentFrame + toSamples(this.holdMs);
    }
  }

  process(_inputs, [[output]]) {
    const segment = this.segments[0];
    if (!segment) return true;
    if (!segment.isRunning && currentFrame >= segment.startFrame) this.start(segment);
    if (segment.isRunning) this.render(segment, output);
    this.finish(segment);
    this.report(segment);
    return true;
  }

  start(segment) {
    segment.isRunning = true;
    segment.startFrame = Infinity;
    this.gain = 0;
    if (!segment.hasStarted && segment.buffered) {
      segment.hasStarted = true;
      this.port.postMessage({ type: 'started', key: segment.key, frame: currentFrame });
    }
  }

  /** The gain never moves by more than one step a sample and is 0 when the buffer runs out. */
  render(segment, output) {
    const count = Math.min(output.length, segment.buffered);
    const step = 1 / this.fade;
    for (let n = 0; n < count; n += 1) {
      const limit = Math.min(1, (segment.buffered - 1) * step);
      this.gain = Math.min(this.gain + step, limit);
      output[n] = segment.take() * this.gain;
      this.energy += output[n] * output[n];
    }
    this.giveBack(segment.spent);
  }

  finish(segment) {
    if (segment.buffered > 0 || (!segment.isRunning && !segment.hasEnded)) return;
    segment.isRunning = false;
    if (segment.hasEnded) {
      this.segments.shift();
      this.close(segment);
    } else {
      segment.isDry = segment.hasStarted;
    }
  }

  report(segment) {
    this.quanta += 1;
    if (this.quanta < PROGRESS_QUANTA) return;
    const level = Math.sqrt(this.energy / (this.quanta * 128));
    this.quanta = 0;
    this.energy = 0;
    const { key, played, buffered, isRunning } = segment;
    const bufferedMs = toMs(buffered);
    this.port.postMessage({ type: 'progress', key, played, bufferedMs, isRunning, level });
  }
}

registerProcessor('antiphon-player', ReplyPlayer);
