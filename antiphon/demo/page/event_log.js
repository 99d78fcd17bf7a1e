// The developer tab's list of events: filter, details, copy. `element`, `props` come from Gradio.

const words = JSON.parse(props.words)[navigator.language.startsWith('zh') ? 'zh' : 'en'];
const list = element.querySelector('.event-list');
const filter = element.querySelector('.event-filter');
const count = element.querySelector('.event-count');
const note = element.querySelector('.event-empty');
const SHOWN = 200;
let entries = [];
let isWaiting = false;

filter.placeholder = words.filter;
filter.setAttribute('aria-label', words.filter);
note.textContent = words.empty;
for (const button of element.querySelectorAll('button[data-say]')) {
  button.textContent = words[button.dataset.say];
}

const matches = (entry) => {
  const asked = filter.value.trim().toLowerCase();
  if (!asked) return true;
  return asked.split(/\s+/).every((word) => JSON.stringify(entry).toLowerCase().includes(word));
};

const lineOf = (entry) => {
  const details = document.createElement('details');
  const summary = document.createElement('summary');
  const parts = [
    ['time', `${(entry.t / 1000).toFixed(3)} s`],
    ['arrow', entry.direction === 'in' ? '↓' : '↑'],
    ['type', entry.type],
  ];
  for (const [name, text] of parts) {
    const part = document.createElement('span');
    part.className = name;
    part.textContent = text;
    summary.append(part);
  }
  details.className = entry.direction;
  details.append(summary);
  details.addEventListener('toggle', () => {
    if (details.children.length > 1) return;
    const body = document.createElement('pre');
    body.textContent = JSON.stringify(entry.event, null, 2);
    body.tabIndex = 0;
    details.append(body);
  });
  return details;
};

const draw = () => {
  isWaiting = false;
  const shown = entries.filter(matches);
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.replaceChildren(...shown.slice(-SHOWN).map(lineOf));
  note.hidden = entries.length > 0;
  count.textContent = entries.length ? `${shown.length} / ${entries.length}` : '';
  if (isAtEnd) list.scrollTop = list.scrollHeight;
};
const drawSoon = () => {
  if (isWaiting) return;
  isWaiting = true;
  setTimeout(draw, 150);
};

const attach = () => {
  entries = window.antiphonCall.events.entries();
  drawSoon();
};
window.addEventListener('antiphon:event', ({ detail }) => {
  entries.push(detail);
  if (entries.length > 500) entries.shift();
  drawSoon();
});
window.addEventListener('antiphon:ready', attach);
if (window.antiphonCall) attach();
filter.addEventListener('input', drawSoon);
element.querySelector('[data-say=clear]').addEventListener('click', () => {
  window.antiphonCall?.events.clear();
  entries = [];
  draw();
});
element.querySelector('[data-say=copy]').addEventListener('click', async ({ target }) => {
  const lines = entries.filter(matches).map((entry) => JSON.stringify(entry));
  const isCopied = await navigator.clipboard
    ?.writeText(lines.join('\n'))
    .then(() => true)
    .catch(() => false);
  target.textContent = isCopied ? words.copied : words.not_copied;
  setTimeout(() => (target.textContent = words.copy), 1500);
});
draw();
