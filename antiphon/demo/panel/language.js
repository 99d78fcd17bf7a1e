// The panel's words in the language of the page: text, labels and titles of marked elements.

export const LANGUAGES = ['en', 'zh'];

/** Choose a language we have for a tag such as zh-CN. */
export function choose(tag) {
  const start = String(tag || '').toLowerCase().split('-')[0];
  return LANGUAGES.includes(start) ? start : 'en';
}

export class Language {
  constructor(dictionary, tag) {
    this.dictionary = dictionary;
    this.name = choose(tag || navigator.language);
  }

  /** Give the words for a key, with {names} filled in. */
  say(key, params = {}) {
    const words = this.dictionary[this.name][key] ?? this.dictionary.en[key] ?? key;
    return words.replace(/\{(\w+)\}/g, (whole, name) => params[name] ?? whole);
  }

  has(key) {
    return key in this.dictionary.en;
  }

  /** Write the words into every element that asks for some. */
  apply(root) {
    root.host.lang = this.name === 'zh' ? 'zh-CN' : 'en';
    for (const element of root.querySelectorAll('[data-say]')) {
      element.textContent = this.say(element.dataset.say);
    }
    for (const attribute of ['aria-label', 'title', 'placeholder']) {
      for (const element of root.querySelectorAll(`[data-${attribute}]`)) {
        element.setAttribute(attribute, this.say(element.getAttribute(`data-${attribute}`)));
      }
    }
  }
}
