// The two level rings: the person's and the model's loudness, drawn while somebody may look.

const RISE = 0.7; // of the way to a louder level at each drawing
const FALL = 0.22;
const FLOOR_DB = -55;
const DRAW_MS = 30; // no more often: the machine may be computing the reply, too

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
    this.drawnAt = 0;
  }

  /** Draw while a call is on. */
  follow(isLive) {
    if (isLive && !this.isDrawing) requestAnimationFrame((now) => this.draw(now));
    this.isDrawing = isLive;
  }

  draw(now) {
    if (!this.isDrawing) return this.rest();
    if (now - this.drawnAt >= DRAW_MS) this.move(now);
    requestAnimationFrame((next) => this.draw(next));
  }

  move(now) {
    const { microphone, player } = this.call;
    this.drawnAt = now;
    this.step('person', microphone.isMuted ? 0 : loudness(microphone.level));
    this.step('model', player.isSounding ? loudness(player.level) : 0);
    this.set(this.meter, 'transform', `scaleX(${this.shown.person.toFixed(2)})`);
  }

  step(name, level) {
    const before = this.shown[name];
    this.shown[name] = before + (level - before) * (level > before ? RISE : FALL);
    this.set(this.orb, `--loud-${name}`, this.shown[name].toFixed(2));
  }

  /** Change a style where it is another: an equal one would be worked out again, too. */
  set({ style }, name, value) {
    if (style.getPropertyValue(name) !== value) style.setProperty(name, value);
  }

  rest() {
    this.shown = { person: 0, model: 0 };
    for (const name of Object.keys(this.shown)) this.orb.style.setProperty(`--loud-${name}`, '0');
    this.meter.style.transform = 'scaleX(0)';
  }
}
