// Put into the page before its own scripts: a microphone that says what it is told to, and an ear at
// the end of the player's graph. Both stamp what passes by the wall clock of the audio thread.
// The page's own capture and playback code runs unchanged between the two.

(() => {
  const processors = `
    const QUIET_FRAMES = 0.25; // s of zeros after which a sound is over
    registerProcessor('probe-voice', class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.queue = [];
        this.port.onmessage = ({ data }) => this.queue.push({ ...data, at: 0 });
      }
      process(_inputs, [[output]]) {
        for (let n = 0; n < output.length; n += 1) {
          const clip = this.queue[0];
          let sample = (Math.random() - 0.5) * 0.0004; // a quiet room
          if (clip) {
            if (clip.at === 0) this.tell('began', clip.id, n);
            sample += clip.samples[clip.at];
            clip.at += 1;
            if (clip.at === clip.samples.length) {
              this.tell('ended', clip.id, n);
              this.queue.shift();
              const { buffer } = clip.samples; // back, as this thread's memory is hardly ever swept
              this.port.postMessage({ buffer }, [buffer]);
            }
          }
          output[n] = sample;
        }
        return true;
      }
      tell(what, id, n) {
        this.port.postMessage({ what, id, wall: Date.now(), frame: currentFrame + n });
      }
    });
    registerProcessor('probe-ear', class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.sound = null;
        this.isRecording = false;
        this.port.onmessage = ({ data }) => { this.isRecording = data.isRecording; };
      }
      process([input], [output]) {
        const block = input[0];
        if (!block) return true;
        output[0].set(block);
        let first = -1, last = -1;
        for (let n = 0; n < block.length; n += 1) {
          if (block[n] !== 0) { last = n; if (first < 0) first = n; }
        }
        if (first >= 0 && !this.sound) {
          this.sound = { wall: Date.now(), frame: currentFrame + first };
          this.port.postMessage({ what: 'began', ...this.sound });
        }
        if (this.sound && this.isRecording) this.record(block);
        if (first >= 0) Object.assign(this.sound, { lastWall: Date.now(), lastFrame: currentFrame + last });
        else if (this.sound && currentFrame - this.sound.lastFrame > QUIET_FRAMES * sampleRate) {
          this.flush();
          this.port.postMessage({ what: 'ended', ...this.sound });
          this.sound = null;
        }
        return true;
      }
      record(block) {
        if (!this.buffer) Object.assign(this, { buffer: new Float32Array(4096), used: 0, start: currentFrame });
        this.buffer.set(block, this.used);
        this.used += block.length;
        if (this.used === this.buffer.length) this.flush();
      }
      flush() {
        if (!this.buffer) return;
        const samples = this.buffer.slice(0, this.used);
        this.port.postMessage({ what: 'samples', frame: this.start, samples }, [samples.buffer]);
        this.buffer = null;
      }
    });`;
  const module = URL.createObjectURL(new Blob([processors], { type: 'text/javascript' }));
  const probe = (window.probe = { log: [], recorded: [], isRecording: false, echo: null, ear: null });
  const note = (what, details) => probe.log.push({ what, ...details });

  // what the page tells
  const wanted = /^(session\.created|input_audio_buffer|response\.(created|done)|conversation\.item\.(truncate|truncated|added)|error|antiphon\.(history|queue|warning))/;
  window.addEventListener('antiphon:event', ({ detail: { direction, type, event } }) => {
    const isFirstSound = type === 'response.output_audio.delta' && event.antiphon?.timings;
    if (!wanted.test(type) && !isFirstSound) return;
    note(`${direction}:${type}`, { wall: Date.now(), event: JSON.parse(JSON.stringify(event)) });
  });
  window.addEventListener('antiphon:state', ({ detail }) => note('state', { wall: Date.now(), ...detail }));

  // the microphone
  let voice = null;
  let clipNumber = Date.now(); // other numbers after a reload
  const openVoice = async () => {
    const context = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
    await context.audioWorklet.addModule(module);
    const node = new AudioWorkletNode(context, 'probe-voice', { numberOfInputs: 0, outputChannelCount: [1] });
    node.port.onmessage = ({ data: { what, ...rest } }) => {
      if (what) note(`voice:${what}`, rest);
    };
    const mixed = context.createGain();
    node.connect(mixed);
    await context.resume();
    return { context, node, mixed };
  };
  const media = navigator.mediaDevices;
  if (media && !window.probeUsesDevice) {
    media.getUserMedia = async () => {
      voice = voice || (await openVoice());
      const target = voice.context.createMediaStreamDestination();
      voice.mixed.connect(target);
      if (probe.ear) hearEcho();
      return target.stream;
    };
  }
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  probe.say = (pcm) => {
    const samples = Float32Array.from(new Int16Array(bytesOf(pcm).buffer), (sample) => sample / 32768);
    clipNumber += 1;
    voice.node.port.postMessage({ id: clipNumber, samples }, [samples.buffer]);
    return clipNumber;
  };

  // the ear, and the way from the loudspeaker back into the microphone
  const hearEcho = () => {
    if (probe.echo === null || !voice || probe.ear.hasEcho) return;
    probe.ear.hasEcho = true;
    const out = probe.ear.node.context.createMediaStreamDestination();
    probe.ear.node.connect(out);
    const gain = voice.context.createGain();
    gain.gain.value = 10 ** (probe.echo.levelDb / 20);
    const delay = voice.context.createDelay(1);
    delay.delayTime.value = probe.echo.delayMs / 1000;
    voice.context.createMediaStreamSource(out.stream).connect(gain).connect(delay).connect(voice.mixed);
  };
  const addModule = AudioWorklet.prototype.addModule;
  AudioWorklet.prototype.addModule = async function (url, options) {
    if (url !== module) await addModule.call(this, module);
    return addModule.call(this, url, options);
  };
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    const isPlayer = this instanceof AudioWorkletNode && target === this.context.destination;
    if (!isPlayer) return connect.call(this, target, ...rest);
    const node = new AudioWorkletNode(this.context, 'probe-ear', { outputChannelCount: [1] });
    node.port.onmessage = ({ data: { what, ...rest } }) => {
      if (what === 'samples') probe.recorded.push(rest);
      else note(`ear:${what}`, rest);
    };
    probe.ear = { node, hasEcho: false };
    probe.record(probe.isRecording);
    connect.call(this, node);
    hearEcho();
    return connect.call(node, target, ...rest);
  };
  probe.record = (isRecording) => {
    probe.isRecording = isRecording;
    probe.ear?.node.port.postMessage({ isRecording });
  };

  // what the measuring program takes
  probe.drain = () => probe.log.splice(0);
  const base64 = (floats) => {
    const bytes = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    let text = '';
    for (let at = 0; at < bytes.length; at += 32768) {
      text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    }
    return btoa(text);
  };
  probe.takeRecorded = () =>
    probe.recorded.splice(0).map(({ frame, samples }) => ({ frame, samples: base64(samples) }));
  probe.lastReply = () => {
    const reply = window.antiphonCall.lastReply();
    return reply && { ...reply, samples: base64(reply.samples) };
  };
})();
