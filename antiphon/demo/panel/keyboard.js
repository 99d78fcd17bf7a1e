// The keys of the call: Esc always, M and the space bar unless somebody is typing.

const TYPING = 'input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, select, [contenteditable=""], [contenteditable=true]';
const PRESSABLE = 'button:not(#talk), a, summary, input:not([type=radio]:checked), [role=button], [role=tab]';

export class Keyboard {
  constructor(call, isShown) {
    this.call = call;
    this.isShown = isShown;
    this.isHeld = false;
    document.addEventListener('keydown', (event) => this.onDown(event));
    document.addEventListener('keyup', (event) => this.onUp(event));
    window.addEventListener('blur', () => this.letGo());
  }

  onDown(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.call.isWanted || !this.isShown()) return;
    const target = event.composedPath()[0];
    const isTyping = target instanceof Element && target.matches(TYPING);
    if (event.isComposing || (isTyping && event.key !== 'Escape')) return; // composing: the input method's own
    if (event.key === 'Escape') this.call.stop();
    else if (event.key.toLowerCase() === 'm' && !event.repeat) this.toggleMute();
    else if (event.code === 'Space') this.hold(event, target);
    else return;
    event.stopPropagation();
  }

  toggleMute() {
    this.call.setMuted(!this.call.microphone.isMuted);
  }

  /** The space bar presses the focused control, as everywhere; elsewhere it is the talk button. */
  hold(event, target) {
    if (target instanceof Element && target.matches(PRESSABLE)) return;
    event.preventDefault();
    if (event.repeat || this.isHeld) return;
    this.isHeld = true;
    this.call.press();
  }

  onUp(event) {
    if (event.code === 'Space') this.letGo();
  }

  letGo() {
    if (!this.isHeld) return;
    this.isHeld = false;
    this.call.letGo();
  }
}
