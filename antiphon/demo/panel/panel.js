// Puts the live call on the page: loads its parts, draws them in a shadow tree, wires buttons to the call.

import { Call } from './call.js';
import { Controls } from './controls.js';
import { Devices } from './devices.js';
import { Keyboard } from './keyboard.js';
import { Language } from './language.js';
import { LatencyView, split } from './latency_view.js';
import { Notices } from './notices.js';
import { Orb } from './orb.js';
import { publicInterface } from './public_interface.js';
import { Settings } from './settings.js';
import { TranscriptView } from './transcript_view.js';

const CONNECTION = ['lost', 'unreachable', 'full'];

/** Fill `host` with the panel; options are those of build_voice_panel. Gives the public interface. */
export async function mount(host, options) {
  if (host.shadowRoot) return window.antiphonCall;
  const box = host.closest('.html-container'); // Gradio's own, which insets what it holds
  if (box) box.style.padding = '0';
  const load = (name) => fetch(new URL(name, import.meta.url)).then((answer) => answer.text());
  const files = ['panel.html', 'panel.css', 'dictionary.json'];
  const [html, css, dictionary] = await Promise.all(files.map(load));
  const root = host.attachShadow({ mode: 'open' });
  root.innerHTML = `<style>${css}</style>${html}`;
  const panel = new Panel(root, JSON.parse(dictionary), options);
  window.antiphonCall = publicInterface(panel);
  window.dispatchEvent(new CustomEvent('antiphon:ready'));
  return window.antiphonCall;
}

class Panel {
  constructor(root, dictionary, options) {
    this.root = root;
    this.options = options;
    this.settings = new Settings();
    this.language = new Language(dictionary, options.language);
    this.call = new Call({
      settings: this.settings,
      socketUrl: (id) => this.socketUrl(id),
      workletUrl: (name) => new URL(name, import.meta.url).href,
    });
    this.makeParts();
    this.followTheme();
    this.listen();
    this.controls.show();
    this.language.apply(root);
    this.restore();
  }

  makeParts() {
    const { root, language, settings, call } = this;
    const itemUrl = (id, kind) => this.conversationUrl(`/item/${encodeURIComponent(id)}.${kind}`);
    this.notices = new Notices(root, language, (action) => this.act(action));
    this.transcript = new TranscriptView(root, language, call.conversation, itemUrl);
    this.latency = new LatencyView(root, language);
    this.orb = new Orb(root, call);
    this.devices = new Devices(root, language, settings);
    this.controls = new Controls(root, language, call);
    this.keyboard = new Keyboard(call, () => root.host.checkVisibility());
  }

  socketUrl(conversationId) {
    const url = new URL(this.options.socket_url, document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('conversation', conversationId);
    url.searchParams.set('audio', 'binary');
    if (this.options.model) url.searchParams.set('model', this.options.model);
    return url.href;
  }

  conversationUrl(rest) {
    const base = `${this.options.conversation_url}/${this.call.conversation.id}${rest}`;
    return new URL(base, document.baseURI).href;
  }

  listen() {
    const { call, notices, latency } = this;
    call.on('problem', (problem) => this.onProblem(problem));
    call.on('solved', (code) => notices.clear(code));
    call.on('started', ({ label }) => this.onStarted(label));
    call.on('state', (state) => this.onState(state));
    call.on('queue', () => this.controls.show());
    call.on('muted', () => this.controls.show());
    call.on('first_sound', (times) => latency.show(split(times)));
    call.on('figures', ({ rtf }) => latency.note({ rtf, ...this.soundFacts() }));
    call.on('underrun', () => latency.note(this.soundFacts()));
    this.settings.on('changed', () => this.controls.show());
    call.conversation.on('changed', (item) => this.tell(item));
    call.conversation.on('reset', (id) => announce('conversation', { id }));
  }

  soundFacts() {
    const { player } = this.call;
    return { underruns: player.counts.underruns, bufferMs: player.bufferMs };
  }

  tell(item) {
    if (item.status !== 'in_progress') announce('item', { ...item });
  }

  onState(state) {
    this.controls.show();
    this.orb.follow(this.call.isWanted);
    this.latency.note(this.soundFacts());
    announce('state', { state });
  }

  onStarted(label) {
    this.notices.clearAll();
    this.devices.refresh();
    this.controls.show();
    this.controls.moveFocus();
    const hasHeadset = /head(set|phone)|airpods|earbuds|buds|耳机/i.test(label);
    const isLoud = label && !hasHeadset && !this.settings.get('half_duplex');
    if (isLoud && !this.settings.get('hint_seen')) this.notices.show({ code: 'headphones' });
  }

  onProblem(problem) {
    const params = { ms: this.call.player.bufferMs, ...problem.params };
    if (CONNECTION.includes(problem.code)) CONNECTION.forEach((code) => this.notices.clear(code));
    this.notices.show({ ...problem, params });
    this.controls.show();
  }

  /** Do what the button of a message says. */
  act(action) {
    const { call } = this;
    const isVoiceless = call.isWanted && !call.hasMicrophone;
    if (action === 'microphone' || (action === 'retry' && isVoiceless)) call.addMicrophone();
    else if (action === 'retry') call.start();
    else if (action === 'take') call.start({ force: true });
    else if (action === 'type') this.controls.focusComposer();
    else if (action === 'now') call.socket.hurry();
    else if (action === 'sound') call.unlockSound();
    else if (action === 'half_duplex') this.settings.set({ half_duplex: true, hint_seen: true });
    else if (action === 'understood') this.settings.set({ hint_seen: true });
  }

  /** Show what was said before the page was loaded, and whether another tab is in a call. */
  async restore() {
    this.devices.refresh();
    if (!window.isSecureContext) this.onProblem({ code: 'microphone_insecure' });
    if (await this.call.presence.isTaken()) this.onProblem({ code: 'taken' });
    if (this.call.conversation.wasUsed) await this.refresh();
  }

  /** Show the conversation as the server knows it; in a call, the server tells of it itself. */
  async refresh() {
    const answer = await fetch(this.conversationUrl('.json')).catch(() => null);
    if (!answer || !answer.ok || this.call.isWanted) return;
    const { items } = await answer.json();
    this.call.conversation.restore(items);
  }

  setLanguage(tag) {
    this.language.name = new Language(this.language.dictionary, tag).name;
    this.language.apply(this.root);
    this.transcript.redraw();
    this.latency.draw();
    this.devices.refresh();
    this.controls.show();
  }

  /** Follow the page from light to dark: Gradio marks its body. */
  followTheme() {
    const { host } = this.root;
    const look = () => {
      const isDark = document.body.classList.contains('dark');
      host.dataset.theme = isDark ? 'dark' : 'light';
    };
    new MutationObserver(look).observe(document.body, { attributeFilter: ['class'] });
    look();
  }
}

function announce(name, detail) {
  window.dispatchEvent(new CustomEvent(`antiphon:${name}`, { detail }));
}
