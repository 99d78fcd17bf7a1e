// Turns the microphone into PCM16 frames of 20 ms at the device's own rate, each with its loudness.

const FRAME_MS = 20;

class MicrophoneFrames extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round((sampleRate * FRAME_MS) / 1000);
    this.isMuted = false;
    this.port.onmessage = ({ data }) => {
      this.isMuted = data.isMuted;
    };
    this.begin();
  }

  begin() {
    this.frame = new Int16Array(this.size);
    this.filled = 0;
    this.energy = 0;
  }

  process([channels]) {
    if (channels.length === 0) return true;
    const length = channels[0].length;
    for (let n = 0; n < length; n += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[n] / channels.length;
      this.add(this.isMuted ? 0 : Math.max(-1, Math.min(1, sample)));
    }
    return true;
  }

  add(sample) {
    this.frame[this.filled] = Math.round(sample * 32767);
    this.energy += sample * sample;
    this.filled += 1;
    if (this.filled === this.size) this.send();
  }

  send() {
    const level = Math.sqrt(this.energy / this.size);
    const pcm = this.frame.buffer;
    this.port.postMessage({ pcm, level }, [pcm]);
    this.begin();
  }
}

registerProcessor('antiphon-microphone', MicrophoneFrames);
