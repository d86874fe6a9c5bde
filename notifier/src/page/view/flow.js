// Whether new rows flow into the table or wait, and how many do. Pure.

/** Why rows wait: `scroll`, the reader is further down; `hover`, points at a row; `reader`, has said so. */
export class Flow {
  #reasons = new Set();
  #held = null; // the end of the rows shown while they wait

  get rests() {
    return this.#reasons.size > 0;
  }

  /** @returns whether anything changed */
  hold(reason, list) {
    if (this.#reasons.has(reason)) return false;
    if (!this.rests) this.#held = list.end;
    this.#reasons.add(reason);
    return true;
  }

  release(reason) {
    return this.#reasons.delete(reason);
  }

  resume() {
    this.#reasons.clear();
  }

  /** The list begins anew. */
  reset(list) {
    this.#held = list.end;
  }

  /** The number after the newest row shown. What is held may have been forgotten meanwhile. */
  end(list) {
    if (!this.rests) return list.end;
    return Math.min(list.end, Math.max(this.#held, list.start + 1));
  }

  waiting(list) {
    return list.end - this.end(list);
  }
}
