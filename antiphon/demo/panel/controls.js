// Buttons, switches and the state line: what they say, and what they tell the call.

const LIVE = new Set(['listening', 'hearing', 'thinking', 'speaking', 'interrupted', 'deaf']);

export class Controls {
  constructor(root, language, call) {
    this.root = root;
    this.language = language;
    this.call = call;
    this.settings = call.settings;
    this.panel = root.querySelector('.panel');
    this.panel.tabIndex = -1;
    this.at = (id) => root.getElementById(id);
    this.wireButtons();
    this.wireTalk();
    this.wireSettings();
  }

  wireButtons() {
    const { call } = this;
    const click = (id, act) => this.at(id).addEventListener('click', act);
    click('call', () => this.pressCall());
    click('mute', () => call.setMuted(!call.microphone.isMuted));
    click('stop', () => call.stop());
    click('renew', () => call.renew());
    this.at('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      const field = this.at('words');
      call.sendText(field.value);
      field.value = '';
    });
  }

  pressCall() {
    const { call } = this;
    if (!call.isWanted) call.start();
    else if (this.isTyped) call.addMicrophone();
    else call.hangUp();
  }

  /** Whether the call was opened for typing, without a microphone. */
  get isTyped() {
    return this.call.isReady && !this.call.hasMicrophone && !this.call.isMicrophoneLost;
  }

  wireTalk() {
    const talk = this.at('talk');
    talk.addEventListener('pointerdown', (event) => {
      talk.setPointerCapture(event.pointerId);
      this.call.press();
    });
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      talk.addEventListener(name, () => this.call.letGo());
    }
    talk.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  wireSettings() {
    const { settings } = this;
    for (const mode of ['hands_free', 'push_to_talk']) {
      this.at(`mode-${mode.replaceAll('_', '-')}`).addEventListener('change', () => settings.set({ mode }));
    }
    const slide = (id, name) =>
      this.at(id).addEventListener('input', ({ target }) => settings.set({ [name]: Number(target.value) }));
    slide('sensitivity', 'sensitivity');
    slide('silence', 'silence_ms');
    slide('pace', 'speed');
    const tick = (id, name) =>
      this.at(id).addEventListener('change', ({ target }) => settings.set({ [name]: target.checked }));
    tick('interrupt', 'interrupt');
    tick('half-duplex', 'half_duplex');
  }

  /** Bring everything in line with the call and the settings. */
  show() {
    const { call, language } = this;
    const { state } = call;
    this.panel.dataset.state = state;
    this.panel.dataset.muted = String(call.microphone.isMuted);
    const shown = state === 'listening' && this.isTyped ? 'idle' : state;
    const place = call.queue && call.queue.position;
    const isUnknown = shown === 'queued' && (place === null || place === undefined);
    const words = language.say(`state_${isUnknown ? 'waiting' : shown}`, { position: place });
    if (this.at('state').textContent !== words) this.at('state').textContent = words;
    this.at('hint').textContent = language.say(this.hintKey(state));
    this.showButtons(state);
    this.showSettings();
  }

  hintKey(state) {
    const { call } = this;
    const variants = {
      listening: this.listeningVariant(),
      hearing: call.isPushToTalk ? '_push' : '',
      speaking: this.mayInterrupt() ? '' : '_quiet',
    };
    return `hint_${state}${variants[state] || ''}`;
  }

  listeningVariant() {
    const { call } = this;
    if (!call.hasMicrophone) return '_text';
    if (call.isPushToTalk) return '_push';
    return call.microphone.isMuted ? '_muted' : '';
  }

  mayInterrupt() {
    const { call, settings } = this;
    if (call.isPushToTalk || call.microphone.isMuted || !call.hasMicrophone) return false;
    return settings.get('interrupt') && !settings.get('half_duplex');
  }

  showButtons(state) {
    const { call, language } = this;
    const { isMuted } = call.microphone;
    const isLive = LIVE.has(state);
    const isOn = call.isWanted && !this.isTyped;
    this.at('call').textContent = language.say(isOn ? 'hang_up' : 'start');
    this.at('call').classList.toggle('live', isOn);
    this.at('mute').disabled = !call.isWanted || !call.hasMicrophone;
    this.at('mute').setAttribute('aria-pressed', String(isMuted));
    this.at('mute').querySelector('.caption').textContent = language.say(isMuted ? 'muted_short' : 'mute_short');
    this.at('stop').disabled = !(state === 'speaking' || state === 'thinking');
    this.at('talk').hidden = !call.isPushToTalk;
    this.at('talk').disabled = !isLive || !call.hasMicrophone;
    this.at('talk').textContent = language.say(call.isTalking ? 'talk_held' : 'talk');
    this.at('talk').classList.toggle('held', call.isTalking);
  }

  showSettings() {
    const { settings } = this;
    const seconds = (settings.get('silence_ms') / 1000).toFixed(2);
    this.at('mode-hands-free').checked = settings.get('mode') === 'hands_free';
    this.at('mode-push-to-talk').checked = settings.get('mode') === 'push_to_talk';
    this.at('sensitivity').value = settings.get('sensitivity');
    this.at('sensitivity-value').textContent = `${settings.get('sensitivity')} %`;
    this.at('silence').value = settings.get('silence_ms');
    this.at('silence-value').textContent = `${seconds} s`;
    this.at('pace').value = settings.get('speed');
    this.at('pace-value').textContent = `${settings.get('speed').toFixed(2)} ×`;
    this.at('interrupt').checked = settings.get('interrupt');
    this.at('half-duplex').checked = settings.get('half_duplex');
  }

  focusComposer() {
    this.at('words').focus();
  }

  /** After the call button was pressed the space bar shall talk, not press it again. */
  moveFocus() {
    if (this.root.activeElement !== this.at('call')) return;
    this.panel.focus({ preventScroll: true });
  }
}
