// The rows in memory, oldest first. Pure.

/** Rows kept; the oldest go first. */
export const ROWS_MAX = 100_000;

/** Characters of the events' own JSON kept with them. What is older is asked of the server when somebody looks. */
export const JSON_MAX = 64 << 20;

/**
 * Each row keeps its number for good: new ones count up, and older ones that are loaded later count down from the
 * first. When rows went for another reason than age, `generation` changes, and so did numbers.
 */
export class RowList {
  generation = 0;
  #rows = [];
  #start = 0;
  #max;
  #dropped = false;
  #jsonMax;
  #json = 0; // characters kept
  #bare = 0; // the number of the oldest row that may have its JSON

  constructor(max = ROWS_MAX, jsonMax = JSON_MAX) {
    this.#max = max;
    this.#jsonMax = jsonMax;
  }

  /** The number of the oldest row kept. */
  get start() {
    return Math.max(this.#start, this.end - this.#max);
  }

  /** The number the next row will have. */
  get end() {
    return this.#start + this.#rows.length;
  }

  get size() {
    return this.end - this.start;
  }

  /** Whether rows went by age: before the oldest row there were others. */
  get forgot() {
    return this.#dropped || this.#rows.length > this.#max;
  }

  get full() {
    return this.size >= this.#max;
  }

  /** The row of this number. */
  at(number) {
    return this.#rows[number - this.#start];
  }

  /** The oldest event's row, whose cursor is where older ones end. */
  oldestEvent() {
    for (let number = this.start; number < this.end; number++) if (this.at(number).cursor) return this.at(number);
    return null;
  }

  add(row) {
    this.#rows.push(row);
    this.#json += row.json?.length ?? 0;
    // Rows leave in lots: moving all of them for each one would cost more than the few kept too long.
    const lot = Math.max(1, this.#max >> 4);
    if (this.#rows.length >= this.#max + lot) this.#drop(this.#rows.length - this.#max);
    while (this.#json > this.#jsonMax && this.#bare < this.end) this.#strip(this.#bare++);
  }

  /** Rows older than all there are, oldest first; as many of the newest of them as there is room for. */
  addOlder(rows) {
    const room = Math.max(0, this.#max - this.size);
    const taken = rows.slice(Math.max(0, rows.length - room));
    for (const row of taken) {
      if (this.#json + (row.json?.length ?? 0) > this.#jsonMax) row.json = null;
      this.#json += row.json?.length ?? 0;
    }
    this.#rows = taken.concat(this.#rows);
    this.#start -= taken.length;
    this.#bare = Math.min(this.#bare, this.#start);
    return taken.length;
  }

  clear() {
    this.#rows = [];
    this.#dropped = false;
    this.#json = 0;
    this.#bare = this.#start = 0;
    this.generation += 1;
  }

  /** Drops the rows for which `unwanted` holds. */
  remove(unwanted) {
    const kept = this.#rows.filter((row) => !unwanted(row));
    if (kept.length === this.#rows.length) return;
    this.#rows = kept;
    this.#json = kept.reduce((sum, row) => sum + (row.json?.length ?? 0), 0);
    this.#bare = this.#start;
    this.generation += 1;
  }

  *[Symbol.iterator]() {
    for (let number = this.start; number < this.end; number++) yield this.at(number);
  }

  #drop(count) {
    for (let at = 0; at < count; at++) this.#json -= this.#rows[at].json?.length ?? 0;
    this.#dropped = true;
    this.#start += count;
    this.#bare = Math.max(this.#bare, this.#start);
    this.#rows.splice(0, count);
  }

  #strip(number) {
    const row = this.at(number);
    if (!row?.json) return;
    this.#json -= row.json.length;
    row.json = null;
  }
}
