// Named signals between the parts of the panel.

export class Emitter {
  #listeners = new Map();

  /** Call `listener` at each `name`; returns a function that ends it. */
  on(name, listener) {
    const listeners = this.#listeners.get(name) || new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  emit(name, value) {
    for (const listener of this.#listeners.get(name) || []) listener(value);
  }
}
