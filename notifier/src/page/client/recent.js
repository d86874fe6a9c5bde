// The newest values, up to a number of them: what two overlapping sessions both deliver is dropped by it. Pure.

export class RecentSet {
  #values = new Set();
  #max;

  constructor(max) {
    this.#max = max;
  }

  /** Whether the value is new. */
  add(value) {
    if (this.#values.has(value)) return false;
    this.#values.add(value);
    if (this.#values.size > this.#max) this.#values.delete(this.#values.values().next().value);
    return true;
  }
}
