// The bar of the last reply: where the time from the end of speech to the first sound went.

const STAGES = ['endpoint', 'tokenise', 'first_text', 'first_audio', 'network', 'buffer'];

/** Split times counted from the end of speech into what each stage took, in ms; unknown ones are left out. */
export function split({ timings, network_ms, buffer_ms }) {
  const parts = {};
  let before = 0;
  for (const stage of STAGES.slice(0, 4)) {
    const at = timings[`${stage}_ms`];
    if (at === undefined || at === null) continue;
    parts[stage] = Math.max(0, at - before);
    before = Math.max(before, at);
  }
  if (network_ms !== null && network_ms !== undefined) parts.network = network_ms;
  parts.buffer = buffer_ms;
  return parts;
}

export class LatencyView {
  constructor(root, language) {
    this.root = root.getElementById('latency');
    this.total = root.getElementById('latency-total');
    this.facts = root.getElementById('facts');
    this.bar = root.getElementById('bar');
    this.legend = root.getElementById('legend');
    this.language = language;
    this.parts = null;
    this.figures = {};
  }

  /** Show the parts in ms by stage. */
  show(parts) {
    this.parts = parts;
    this.figures = { ...this.figures, rtf: undefined };
    this.draw();
  }

  /** Show facts that come later: rtf, underruns, bufferMs. */
  note(figures) {
    Object.assign(this.figures, figures);
    this.draw();
  }

  draw() {
    if (!this.parts) return;
    const { language } = this;
    const stages = STAGES.filter((stage) => stage in this.parts);
    const total = stages.reduce((sum, stage) => sum + this.parts[stage], 0);
    const listed = stages.map((stage) => `${language.say(stage)} ${seconds(this.parts[stage])} s`);
    this.root.hidden = false;
    this.total.textContent = `${seconds(total)} s`;
    this.bar.setAttribute(
      'aria-label',
      language.say('latency_text', { total: seconds(total), parts: listed.join(', ') }),
    );
    this.bar.replaceChildren(...stages.map((stage) => this.piece(stage, total)));
    this.legend.replaceChildren(...stages.map((stage, n) => entry(stage, listed[n])));
    this.facts.textContent = this.factsText();
  }

  piece(stage, total) {
    const element = document.createElement('span');
    element.className = `piece ${stage}`;
    element.style.flexGrow = String(Math.max(this.parts[stage] / total, 0.004));
    return element;
  }

  factsText() {
    const { rtf, underruns = 0, bufferMs } = this.figures;
    const facts = [];
    if (Number.isFinite(rtf)) facts.push(`${this.language.say('rtf')} ${rtf.toFixed(2)}`);
    facts.push(this.language.say('buffer_size', { ms: bufferMs }));
    facts.push(this.language.say('underruns', { n: underruns }));
    return facts.join(' · ');
  }
}

function entry(stage, words) {
  const element = document.createElement('li');
  element.className = stage;
  element.textContent = words;
  return element;
}

const seconds = (ms) => (ms / 1000).toFixed(2);
