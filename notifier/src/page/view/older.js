// What is under the last row: how far back the table goes, and what to do to go further. Also the empty table's words.

import { $, write } from "./dom.js";
import { ROWS_MAX } from "./rows.js";
import { count } from "./words.js";

export class Older {
  connected = false;
  #feed;
  #shown;
  #text = $("#older [role=status]");
  #button = $("#older button");
  #empty = $("#empty");

  constructor(feed, shown) {
    this.#feed = feed;
    this.#shown = shown;
    this.#button.addEventListener("click", () => feed.loadOlder());
  }

  /** The reader nears the end: older events are loaded, but not one lot after the other in search of a word. */
  wanted() {
    if (this.#feed.older.name === "more" && this.connected && !this.#shown.searching) this.#feed.loadOlder();
  }

  show() {
    const { text } = this.#feed.older;
    const name = this.#feed.list.forgot ? "full" : this.#feed.older.name;
    const { searching, list } = this.#shown;
    const loaded = this.#feed.list.size;
    const said = {
      more: searching ? `Searched ${count(loaded, "loaded event")}.` : "",
      loading: "Loading older events…",
      end: loaded === 0 ? "" : searching ? `Searched all ${count(loaded, "event")}.` : "Nothing older is kept.",
      full: `${ROWS_MAX.toLocaleString()} events are loaded: narrow the filter to go further back.`,
      error: loaded === 0 && !searching ? "" : `Older events cannot be loaded: ${text}.`,
    };
    write(this.#text, said[name]);
    this.#button.hidden = !(name === "error" && loaded > 0) && !(name === "more" && searching);
    write(this.#button, name === "error" ? "Try again" : "Search older events");
    this.#showEmpty(list.size === 0 && this.connected && name !== "loading");
  }

  #showEmpty(empty) {
    const filtered = this.#shown.searching || Object.keys(this.#feed.filter).length > 0;
    this.#empty.hidden = !empty;
    for (const part of this.#empty.querySelectorAll("[data-when]")) part.hidden = (part.dataset.when === "filtered") !== filtered;
  }
}
