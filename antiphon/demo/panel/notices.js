// Messages about what went wrong, each with a way on.

const PASSING_MS = 8000;
// Buttons of a message by its code; the panel knows what each does.
const ACTIONS = {
  microphone_denied: ['retry', 'type'],
  microphone_missing: ['retry', 'type'],
  microphone_busy: ['retry', 'type'],
  microphone_failed: ['retry', 'type'],
  microphone_lost: ['microphone', 'type'],
  microphone_insecure: ['type'],
  unreachable: ['now'],
  lost: ['now'],
  full: ['now'],
  refused: ['retry'],
  taken: ['take'],
  other_tab: ['take'],
  autoplay: ['sound'],
  headphones: ['half_duplex', 'understood'],
};
const MILD = new Set(['headphones', 'slow', 'other_tab', 'too_short', 'warning', 'taken', 'full']);
const ADVICE = new Set(['headphones', 'slow', 'too_short', 'warning']);

export class Notices {
  constructor(root, language, act) {
    this.place = root.getElementById('notices');
    this.low = root.getElementById('advice'); // what need not push the call aside
    this.language = language;
    this.act = act;
    this.shown = new Map(); // code -> element
    this.timers = new Map();
  }

  /** Show a message; one that `passes` goes by itself. */
  show({ code, params = {}, passes = false }) {
    const element = this.build(code, params);
    const before = this.shown.get(code);
    if (before && before.textContent === element.textContent) return; // said already
    this.clear(code);
    this.shown.set(code, element);
    (ADVICE.has(code) ? this.low : this.place).append(element);
    if (passes) this.timers.set(code, setTimeout(() => this.clear(code), PASSING_MS));
  }

  clear(code) {
    clearTimeout(this.timers.get(code));
    const element = this.shown.get(code);
    if (element) element.remove();
    this.shown.delete(code);
  }

  clearAll() {
    for (const code of [...this.shown.keys()]) this.clear(code);
  }

  build(code, params) {
    const element = document.createElement('div');
    const isMild = MILD.has(code);
    element.className = `notice ${isMild ? 'mild' : 'bad'}`;
    element.dataset.code = code;
    element.setAttribute('role', isMild ? 'status' : 'alert');
    const words = document.createElement('p');
    words.textContent = this.language.say(`problem_${code}`, params);
    element.append(words);
    for (const action of ACTIONS[code] || []) element.append(this.button(code, action));
    element.append(this.dismissal(code));
    return element;
  }

  button(code, action) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'act';
    button.dataset.action = action;
    button.textContent = this.language.say(`act_${action}`);
    button.addEventListener('click', () => {
      this.clear(code);
      this.act(action);
    });
    return button;
  }

  dismissal(code) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'dismiss';
    button.textContent = '×';
    button.setAttribute('aria-label', this.language.say('dismiss'));
    button.addEventListener('click', () => this.clear(code));
    return button;
  }
}
