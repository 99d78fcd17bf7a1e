// Runs before the page is drawn: its language, its colours, its conversation, its settings.
// Knows the live call only by window.antiphonCall.

(() => {
  const CONVERSATION = 'antiphon.conversation';
  const SETTINGS = 'antiphon.reply';
  const THEME = 'antiphon.theme';
  const LANGUAGE = 'antiphon_language'; // a cookie, so that the server's messages follow
  const NAMES = ['temperature', 'top_p', 'max_tokens', 'seed', 'voice'];
  const TAGS = { en: 'en-US', zh: 'zh-CN' };
  const isLike = (id) => /^[0-9a-f]{32}$/.test(id || '');

  // Private windows may refuse to keep anything; the page then forgets at its end.
  const memory = new Map();
  const read = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return memory.get(name) ?? null;
    }
  };
  const write = (name, value) => {
    memory.set(name, value);
    try {
      localStorage.setItem(name, value);
    } catch {
      // kept in memory alone
    }
  };

  const newId = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
      byte.toString(16).padStart(2, '0'),
    ).join('');

  /** The conversation of this browser; the live call keeps it in the same place. */
  const conversationId = () => {
    const kept = read(CONVERSATION);
    if (isLike(kept)) return kept;
    const id = newId();
    write(CONVERSATION, id);
    return id;
  };

  /** Begin another conversation, here and in the live call. */
  const renew = async () => {
    if (window.antiphonCall) await window.antiphonCall.newConversation();
    else write(CONVERSATION, newId());
    tabs?.postMessage('renewed');
    return conversationId();
  };

  // Language: the browser's, unless another was chosen. Gradio asks the navigator, so it answers.
  const cookie = (name) =>
    document.cookie
      .split('; ')
      .find((part) => part.startsWith(`${name}=`))
      ?.slice(name.length + 1);
  const chosen = cookie(LANGUAGE);
  const language = () => (TAGS[chosen] ? chosen : 'auto');
  if (TAGS[chosen]) {
    Object.defineProperty(navigator, 'language', { get: () => TAGS[chosen] });
    Object.defineProperty(navigator, 'languages', { get: () => [TAGS[chosen]] });
  }
  document.documentElement.lang = navigator.language.startsWith('zh') ? 'zh-CN' : 'en';
  const setLanguage = (name) => {
    if (name === language()) return;
    const age = TAGS[name] ? 31536000 : 0;
    document.cookie = `${LANGUAGE}=${name}; path=/; max-age=${age}; SameSite=Lax`;
    location.reload();
  };

  // Colours: Gradio marks its body; ours wins where one was chosen.
  const system = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => (['light', 'dark'].includes(read(THEME)) ? read(THEME) : 'auto');
  const isDark = () => theme() === 'dark' || (theme() === 'auto' && system.matches);
  const paint = () => {
    if (document.body.classList.contains('dark') !== isDark()) {
      document.body.classList.toggle('dark', isDark());
    }
    document.documentElement.style.colorScheme = isDark() ? 'dark' : 'light';
  };
  const setTheme = (name) => {
    write(THEME, name);
    paint();
    window.dispatchEvent(new CustomEvent('antiphon:theme'));
  };
  system.addEventListener('change', paint);
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(paint).observe(document.body, { attributeFilter: ['class'] });
    paint();
  });

  // Names for what Gradio leaves without: the button beside a text box is a picture.
  const name = () => {
    for (const button of document.querySelectorAll('.submit-button:not([aria-label])')) {
      const words = navigator.language.startsWith('zh') ? '发送' : 'Send';
      button.setAttribute('aria-label', words);
    }
    // An empty player is a plain box with a label, which only something with a role may have.
    for (const box of document.querySelectorAll('.empty[aria-label]:not([role])')) {
      box.setAttribute('role', 'img');
    }
    // Where a box has a button to copy, its label belongs to that button instead.
    for (const box of document.querySelectorAll('label textarea:not([aria-label])')) {
      const words = box.closest('label').querySelector('[data-testid=block-info]');
      if (words && !box.labels.length) box.setAttribute('aria-label', words.textContent.trim());
    }
  };
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });

  // Settings of replies: kept over a reload, and told to the live call.
  const kept = () => {
    try {
      return JSON.parse(read(SETTINGS)) || {};
    } catch {
      return {};
    }
  };
  const configure = (...values) => {
    const settings = Object.fromEntries(values.map((value, n) => [NAMES[n], value]));
    write(SETTINGS, JSON.stringify(settings));
    window.antiphonCall?.configure({ ...settings, show_tokens: true });
    return values;
  };
  const restore = (...values) => {
    const known = kept();
    return configure(...values.map((value, n) => known[NAMES[n]] ?? value));
  };
  window.addEventListener('antiphon:ready', () => {
    window.antiphonCall.configure({ ...kept(), show_tokens: true });
  });

  /** Let every sound on the page fall silent before the server hears of it. */
  const hush = () => {
    const within = (root) =>
      root.querySelectorAll('*').forEach((element) => {
        if (element instanceof HTMLMediaElement) element.pause();
        if (element.shadowRoot) within(element.shadowRoot);
      });
    within(document);
    window.antiphonCall?.stop();
  };

  /** Values of an event of the page: the conversation first, whatever the server last heard. */
  const here = (values) => [conversationId(), ...values.slice(1)];
  const ask = (values) => {
    hush();
    return here(values);
  };

  const download = (suffix) => {
    const link = document.createElement('a');
    link.href = new URL(`conversation/${conversationId()}${suffix}`, document.baseURI).href;
    link.download = '';
    link.click();
  };

  // Other tabs of this browser show the same conversation.
  const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('antiphon') : null;
  const changed = () => window.dispatchEvent(new CustomEvent('antiphon:changed'));
  if (tabs) tabs.onmessage = changed;
  const tell = () => {
    tabs?.postMessage('changed');
    window.antiphonCall?.refresh?.();
  };

  // Gradio loads the page anew when its server is back, which would end a call that has found its own
  // way back already. It asks for this address first; while a call is on, it gets no answer.
  const { fetch } = window;
  const isInCall = () => !['idle', 'error', undefined].includes(window.antiphonCall?.state());
  window.fetch = (...request) => {
    const url = String(request[0]?.url ?? request[0]);
    if (/\/app_id\/?$/.test(url) && isInCall()) return Promise.reject(new TypeError('in a call'));
    return fetch.apply(window, request);
  };

  window.antiphonPage = {
    ...{ conversationId, renew, language, setLanguage, theme, isDark, setTheme },
    ...{ configure, restore, hush, here, ask, download, tell },
  };
})();
