// Draws the conversation: one row an item, words light up as they are heard, turns can be replayed.

const NEAR_END_PX = 60;

export class TranscriptView {
  constructor(root, language, conversation, itemUrl) {
    this.place = root.getElementById('transcript');
    this.empty = root.getElementById('empty');
    this.player = root.getElementById('replay');
    this.language = language;
    this.conversation = conversation;
    this.itemUrl = itemUrl;
    this.rows = new Map(); // id -> elements of its row
    this.playing = null; // id of the item that is replayed
    this.player.addEventListener('ended', () => this.onReplayEnd());
    conversation.on('changed', (item) => this.draw(item));
    conversation.on('heard', (item) => this.light(item));
    conversation.on('removed', (id) => this.remove(id));
    conversation.on('reset', () => this.clear());
  }

  redraw() {
    for (const row of this.rows.values()) this.label(row);
    for (const item of this.conversation.items.values()) this.draw(item);
  }

  clear() {
    for (const id of [...this.rows.keys()]) this.remove(id);
  }

  remove(id) {
    const row = this.rows.get(id);
    if (row) row.element.remove();
    this.rows.delete(id);
    this.empty.hidden = this.rows.size > 0;
  }

  draw(item) {
    const { place } = this;
    const isNearEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_END_PX;
    const row = this.rows.get(item.id) || this.add(item);
    const ending = item.is_forgotten ? 'forgotten' : item.status;
    row.element.className = `item ${item.role} ${ending}`;
    row.who.textContent = this.language.say(item.role === 'user' ? 'you' : 'model');
    this.drawText(row, item);
    row.note.textContent = this.note(item);
    row.play.hidden = row.wav.hidden = !item.has_clip;
    row.tools.hidden = item.status === 'in_progress' || item.is_unsent || item.is_forgotten;
    this.light(item);
    if (isNearEnd) place.scrollTop = place.scrollHeight;
  }

  add(item) {
    const element = document.createElement('article');
    const row = { element, words: [] };
    for (const name of ['who', 'text', 'note', 'tools']) {
      row[name] = document.createElement(name === 'text' ? 'p' : 'span');
      row[name].className = name;
    }
    element.dataset.item = item.id;
    element.append(row.who, row.text, row.note, row.tools);
    this.addTools(row, item.id);
    this.place.append(element);
    this.rows.set(item.id, row);
    this.empty.hidden = true;
    return row;
  }

  addTools(row, id) {
    row.play = document.createElement('button');
    row.play.type = 'button';
    row.play.className = 'tool';
    row.play.textContent = '▶';
    row.play.addEventListener('click', () => this.replay(id));
    for (const kind of ['wav', 'json']) {
      row[kind] = document.createElement('a');
      row[kind].className = 'tool file';
      row[kind].textContent = kind;
      row[kind].href = this.itemUrl(id, kind);
      row[kind].download = `${id}.${kind}`;
    }
    row.tools.append(row.play, row.wav, row.json);
    this.label(row);
  }

  label({ play, wav, json }) {
    for (const [element, key] of [[play, 'replay'], [wav, 'save_wav'], [json, 'save_json']]) {
      element.setAttribute('aria-label', this.language.say(key));
      element.title = this.language.say(key);
    }
  }

  /** Write the text as spans, one a word where the times of the words are known. */
  drawText(row, item) {
    const spoken = item.words.map((word) => word.text).join('');
    const isTimed = item.words.length > 0 && item.text.startsWith(spoken);
    const pieces = isTimed ? item.words.map((word) => word.text) : [];
    const rest = isTimed ? item.text.slice(spoken.length) : item.text;
    const placeholder = item.text ? '' : this.placeholder(item);
    const key = `${pieces.join('|')}||${rest}||${placeholder}`;
    if (row.key === key) return;
    row.key = key;
    row.words = pieces.map((text) => span('word', text));
    row.text.replaceChildren(...row.words);
    if (rest) row.text.append(span(isTimed ? 'word' : 'rest', rest));
    if (placeholder) row.text.append(span('placeholder', placeholder));
  }

  placeholder(item) {
    if (item.role !== 'user') return '…';
    return this.language.say(item.status === 'in_progress' ? 'speaking_now' : 'spoken');
  }

  note(item) {
    if (item.is_forgotten) return this.language.say('forgotten');
    if (item.status === 'failed') return this.language.say('failed');
    if (item.status !== 'cut' && item.status !== 'cancelled') return '';
    if (item.heard_ms === null || item.heard_ms === undefined) return this.language.say('cut');
    return this.language.say('cut_at', { s: (item.heard_ms / 1000).toFixed(1) });
  }

  /** Light up what was heard of a reply; the rest of one that was cut stays dim. */
  light(item) {
    const row = this.rows.get(item.id);
    if (!row || row.words.length === 0) return;
    const isWhole = !item.is_live && item.status !== 'cut';
    row.words.forEach((word, n) => {
      const isHeard = isWhole || item.words[n].start_ms <= item.played_ms;
      word.classList.toggle('heard', isHeard);
    });
  }

  replay(id) {
    const isSame = this.playing === id;
    this.player.pause();
    this.onReplayEnd();
    if (isSame) return;
    this.playing = id;
    this.player.src = this.itemUrl(id, 'wav');
    this.mark(id, '■', 'replay_stop');
    this.player.play().catch(() => this.onReplayEnd());
  }

  onReplayEnd() {
    if (this.playing) this.mark(this.playing, '▶', 'replay');
    this.playing = null;
  }

  mark(id, sign, key) {
    const row = this.rows.get(id);
    if (!row) return;
    row.play.textContent = sign;
    row.play.setAttribute('aria-label', this.language.say(key));
  }
}

function span(name, text) {
  const element = document.createElement('span');
  element.className = name;
  element.textContent = text;
  return element;
}
