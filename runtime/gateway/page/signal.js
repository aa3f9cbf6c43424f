// Something that is said to whoever listens.

export class Signal {
  #listeners = new Set();

  /** Call `listener` with whatever is told; returns what ends that. */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(...what) {
    for (const listener of [...this.#listeners]) listener(...what);
  }

  get count() {
    return this.#listeners.size;
  }
}
