// The two level rings: the person's and the model's loudness, drawn while somebody may look.

const RISE = 0.5;
const FALL = 0.12;
const FLOOR_DB = -55;

/** Place a loudness between 0 and 1 on a decibel scale. */
export function loudness(level) {
  const decibels = 20 * Math.log10(Math.max(level, 1e-6));
  return Math.max(0, Math.min(1, 1 - decibels / FLOOR_DB));
}

export class Orb {
  constructor(root, call) {
    this.orb = root.getElementById('orb');
    this.meter = root.getElementById('meter');
    this.call = call;
    this.shown = { person: 0, model: 0 };
    this.isDrawing = false;
  }

  /** Draw while a call is on. */
  follow(isLive) {
    if (isLive && !this.isDrawing) requestAnimationFrame(() => this.draw());
    this.isDrawing = isLive;
  }

  draw() {
    const { call } = this;
    this.step('person', call.microphone.isMuted ? 0 : loudness(call.microphone.level));
    this.step('model', call.player.isSounding ? loudness(call.player.level) : 0);
    this.meter.style.transform = `scaleX(${this.shown.person.toFixed(3)})`;
    if (this.isDrawing) requestAnimationFrame(() => this.draw());
    else this.rest();
  }

  step(name, level) {
    const before = this.shown[name];
    this.shown[name] = before + (level - before) * (level > before ? RISE : FALL);
    this.orb.style.setProperty(`--loud-${name}`, this.shown[name].toFixed(3));
  }

  rest() {
    this.shown = { person: 0, model: 0 };
    for (const name of Object.keys(this.shown)) this.orb.style.setProperty(`--loud-${name}`, '0');
    this.meter.style.transform = 'scaleX(0)';
  }
}
