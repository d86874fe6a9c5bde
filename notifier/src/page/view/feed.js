// The rows of what is looked at: live ones over the connection, older ones from the store. Knows no DOM.

import { connect } from "../client.js";
import { labelsOf, noticeOf, rowOf } from "./event.js";
import { query } from "./filters.js";
import { rowsOfRecipient } from "./person.js";
import { RowList } from "./rows.js";
import { gapWords } from "./words.js";

/** How many of the newest stored events a view begins with, and how many older ones are loaded at a time. */
export const HISTORY = 200;
export const OLDER = 500;

export class Feed {
  list = new RowList();
  /** How far back it goes: `more`, `loading`, `end`, `full`, or `error` with its `text`. */
  older = { name: "more" };

  #api;
  #token;
  #on;
  #filter = {};
  #connection = null;
  #view = 0; // counts the filters that were looked at; answers for an older one come too late
  #before = null; // where the next older ones end

  /**
   * @param on hears `event(row, labels)`, `seen(labels)` of older ones, `notice()`, `older()`, `anew()`, `erased()`,
   *   and what the connection says: `state(state)` and `token()`
   */
  constructor(api, token, on) {
    this.#api = api;
    this.#token = token;
    this.#on = on;
  }

  get begun() {
    return this.#connection !== null;
  }

  get filter() {
    return this.#filter;
  }

  /** Begins anew: the newest events that match, then live. */
  look(filter) {
    this.#connection?.close();
    this.#filter = filter;
    this.#view += 1;
    this.#before = null;
    this.older = { name: "more" };
    this.list.clear();
    this.#on.anew();
    this.#connection = connect({
      filter,
      last: HISTORY,
      token: this.#token(),
      on: {
        state: (state) => this.#on.state(state),
        event: (event, json) => this.#event(event, json),
        gap: ({ reason }) => this.notice(gapWords(reason)),
        erased: (recipient) => this.#forget(recipient),
        error: (text) => this.notice(`The server reports: ${text.slice(0, 300)}`),
        token: () => this.#on.token(),
      },
    });
  }

  retry() {
    this.#connection?.retry();
  }

  check() {
    this.#connection?.check();
  }

  /** The session goes on with another token. */
  setToken(token) {
    this.#connection.setToken(token);
  }

  notice(text) {
    this.list.add(noticeOf(text));
    this.#on.notice();
  }

  #event(event, json) {
    const row = rowOf(event, json);
    this.list.add(row);
    this.#on.event(row, labelsOf(event, row));
  }

  /** Loads what comes before the oldest row. */
  async loadOlder(count = OLDER) {
    if (this.older.name === "loading" || this.older.name === "end" || this.older.name === "full") return;
    if (this.list.full) return this.#olderIs({ name: "full" });
    const view = this.#view;
    this.#olderIs({ name: "loading" });
    try {
      const before = this.#before ?? this.list.oldestEvent()?.cursor ?? null;
      const { events, next } = await this.#api.events(`api/events/?${query(this.#filter, { limit: count, before })}`);
      if (view !== this.#view) return;
      this.#takeOlder(events, before === null);
      this.#before = next;
      this.#olderIs({ name: next === null ? "end" : "more" });
    } catch (error) {
      if (view === this.#view) this.#olderIs({ name: "error", text: error.message });
    }
  }

  #takeOlder(events, mayBeKnown) {
    // Asked from the newest on, the answer may hold what came live meanwhile.
    const known = new Set(mayBeKnown ? [...this.list].map((row) => row.cursor) : []);
    const rows = [];
    for (const { event, json } of events.reverse()) {
      const row = rowOf(event, json);
      if (known.has(row.cursor)) continue;
      rows.push(row);
      this.#on.seen(labelsOf(event, row));
    }
    this.list.addOlder(rows);
  }

  #olderIs(older) {
    this.older = older;
    this.#on.older();
  }

  /** Events that come while addresses are compared are newer than the erasure and stay. */
  async #forget(recipient) {
    // Browsers hash only where the page came encrypted or from this machine. The server knows whom to leave out; older
    // events that are on their way were read before it did.
    if (!crypto.subtle || this.older.name === "loading") {
      this.look(this.#filter);
      return this.#on.erased();
    }
    const digest = (bytes) => crypto.subtle.digest("SHA-256", bytes);
    const theirs = await rowsOfRecipient([...this.list], recipient, digest);
    this.list.remove((row) => theirs.has(row));
    this.#on.erased();
  }
}
