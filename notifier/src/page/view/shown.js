// Which rows the table shows: all that are loaded, or those that are found. Pure.

import { RowList } from "./rows.js";

export class Shown {
  #all;
  #matches = null;
  #match = null;
  #generation = 0;

  constructor(list) {
    this.#all = list;
  }

  /** Shows only rows for which `match` holds; all where it is null. */
  search(match) {
    this.#match = match;
    this.#collect();
  }

  get searching() {
    return this.#match !== null;
  }

  get list() {
    if (this.#match && this.#generation !== this.#all.generation) this.#collect();
    return this.#matches ?? this.#all;
  }

  /** A row was added to all. */
  added(row) {
    if (this.#match?.(row)) this.#matches.add(row);
  }

  /** Older rows were added, or rows went. */
  changed() {
    if (this.#match) this.#collect();
  }

  #collect() {
    this.#matches = this.#match && new RowList(undefined, Infinity);
    this.#generation = this.#all.generation;
    if (this.#match) for (const row of this.#all) if (this.#match(row)) this.#matches.add(row);
  }
}
