// Asks the server for the conversation again when it changed elsewhere: in the live call, in another tab.

let timer = null;
const refresh = () => {
  clearTimeout(timer);
  timer = setTimeout(() => trigger('changed', {}), 250);
};

for (const name of ['antiphon:item', 'antiphon:conversation', 'antiphon:changed']) {
  window.addEventListener(name, refresh);
}
