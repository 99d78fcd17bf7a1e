// Plays the reply sample by sample: waits until enough is buffered, fades, counts what left it, and
// plays it faster or slower where that is wished for. All counts are of the reply's own samples.
// Knows nothing of the network; one segment is the sound of one reply item.

const FADE_MS = 8; // at the start, at the end and when flushed
const FILL_MS = 80; // buffered before the first sample ...
const PROGRESS_QUANTA = 10; // a report about every 50 ms at 24 kHz

const toSamples = (ms) => Math.round((ms * sampleRate) / 1000);
const toMs = (samples) => (samples * 1000) / sampleRate;

const HOP = 240; // samples put together at a time when the pace is another, 10 ms
const REACH = 144; // how far a piece may be moved so that it fits the one before
const AHEAD = REACH + 3 * HOP; // samples needed beyond the one that sounds

/**
 * Another pace at the same pitch (WSOLA, Verhelst and Roelands 1993): pieces of the sound lie closer
 * or further apart, each moved a little to where it is most like what would have come next.
 */
class Stretch {
  constructor(speed) {
    this.speed = speed;
    this.source = new Float32Array(AHEAD); // followed by that much silence
    this.start = 0; // sample of the reply that comes first in it
    this.position = 0; // of the last piece
    this.made = 0; // samples put together
    this.piece = new Float32Array(HOP);
    this.next = HOP;
  }

  push(samples) {
    const used = Math.max(0, Math.min(this.position, this.wanted - REACH) - this.start);
    const kept = this.source.subarray(used, this.source.length - AHEAD);
    const joined = new Float32Array(kept.length + samples.length + AHEAD);
    joined.set(kept);
    for (let n = 0; n < samples.length; n += 1) joined[kept.length + n] = samples[n] / 32768;
    this.source = joined;
    this.start += used;
  }

  /** Nothing more comes: let it end in silence, as pieces may be taken from beyond the end. */
  end(fade) {
    const end = this.source.length - AHEAD;
    for (let n = 1; n <= Math.min(fade, end); n += 1) this.source[end - n] *= (n - 1) / fade;
  }

  /** Where the next piece belongs. */
  get wanted() {
    return Math.round(this.made * this.speed);
  }

  take() {
    if (this.next === HOP) this.assemble();
    this.next += 1;
    return this.piece[this.next - 1];
  }

  assemble() {
    const onward = this.position + (this.made ? HOP : 0) - this.start;
    const best = this.made ? this.mostAlike(onward, this.wanted - this.start) : onward;
    for (let n = 0; n < HOP; n += 1) {
      const share = n / HOP;
      this.piece[n] = (1 - share) * this.source[onward + n] + share * this.source[best + n];
    }
    this.position = best + this.start;
    this.made += HOP;
    this.next = 0;
  }

  /** The place near `wanted` where the sound is most like that at `onward`. */
  mostAlike(onward, wanted) {
    let [best, highest] = [Math.max(0, wanted), -Infinity];
    for (let place = Math.max(0, wanted - REACH); place <= wanted + REACH; place += 1) {
      let [product, energy] = [0, 1e-9];
      for (let n = 0; n < HOP; n += 2) {
        const sample = this.source[place + n];
        product += sample * this.source[onward + n];
        energy += sample * sample;
      }
      const likeness = product / Math.sqrt(energy);
      if (likeness > highest) [best, highest] = [place, likeness];
    }
    return best;
  }
}

class Segment {
  constructor(key, speed = 1) {
    this.key = key;
    this.stretch = speed === 1 ? null : new Stretch(speed);
    this.taken = 0; // samples of the reply that were used up, with fractions
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
    if (this.stretch) {
      this.stretch.push(samples);
      this.spent.push(samples);
    } else this.chunks.push(samples);
    this.buffered += samples.length;
  }

  /** Samples that may sound now. */
  get ready() {
    return this.stretch && !this.hasEnded ? Math.max(0, this.buffered - AHEAD) : this.buffered;
  }

  take() {
    if (!this.stretch) return this.takeNext();
    this.taken += this.stretch.speed;
    const count = Math.min(this.buffered, Math.floor(this.taken) - this.played);
    this.buffered -= count;
    this.played += count;
    return this.stretch.take();
  }

  takeNext() {
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
    this.speed = 1; // of replies that begin from now on
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
    this.giveBack(segment.spent);
    this.schedule(segment);
  }

  end({ key }) {
    const segment = this.find(key) || this.open(key);
    if (segment.stretch && !segment.hasEnded) segment.stretch.end(this.fade);
    segment.hasEnded = true;
    this.schedule(segment);
  }

  pace({ speed }) {
    this.speed = speed;
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
    const segment = new Segment(key, this.speed);
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
    if (!segment.hasStarted && segment.ready) {
      segment.hasStarted = true;
      this.port.postMessage({ type: 'started', key: segment.key, frame: currentFrame });
    }
  }

  /** The gain never moves by more than one step a sample and is 0 when the buffer runs out. */
  render(segment, output) {
    const step = 1 / this.fade;
    for (let n = 0; n < output.length && segment.ready > 0; n += 1) {
      const limit = Math.min(1, (segment.ready - 1) * step);
      this.gain = Math.min(this.gain + step, limit);
      output[n] = segment.take() * this.gain;
      this.energy += output[n] * output[n];
    }
    this.giveBack(segment.spent);
  }

  finish(segment) {
    if (segment.ready > 0 || (!segment.isRunning && !segment.hasEnded)) return;
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
