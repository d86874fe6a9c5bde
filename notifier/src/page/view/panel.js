// The panel beside the table: one message's life, one event that belongs to none, or one person's events.

import { $, h } from "./dom.js";
import { eventView, messageView } from "./messageview.js";
import { PersonView } from "./personview.js";

/** Moving over rows with the keyboard does not ask for each of them. */
const PAUSE_MS = 150;

export class Panel {
  #api;
  #on;
  #times;
  #panel = $("#panel");
  #title = $("#panel-title");
  #body = $("#panel-body");
  #shown = 0; // counts what was shown; an answer for something older comes too late
  #timer = null;
  #opener = null;

  /**
   * @param on hears `closed()`, `message(id)`, `recipient(address)` and `filter(name, value)`, and gives the
   *   `loaded(id)` rows of a message
   */
  constructor(api, times, on) {
    this.#api = api;
    this.#times = times;
    this.#on = on;
    $("#panel-close").addEventListener("click", () => this.close());
  }

  get open() {
    return !this.#panel.hidden;
  }

  close() {
    if (!this.open) return;
    const hadFocus = this.#panel.contains(document.activeElement);
    this.hide();
    this.#on.closed();
    if (hadFocus) (this.#opener?.isConnected ? this.#opener : $("#grid")).focus();
  }

  hide() {
    this.#shown += 1;
    clearTimeout(this.#timer);
    this.#panel.hidden = true;
    document.body.removeAttribute("data-panel");
  }

  /** A message by its id; with the address of its row, where there is one, the service finds it faster. */
  message(id, row = null) {
    const shown = this.#show("Message");
    const rows = row ? [row] : this.#on.loaded(id).slice(-1);
    this.#fill(messageView({ id, rows, note: "Looking for its other events…" }, this.#tools()));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#loadMessage(id, rows[0]?.email, shown), row ? PAUSE_MS : 0);
  }

  async #loadMessage(id, email, shown) {
    let view;
    try {
      const address = email && email.length < 1_000 ? `?${new URLSearchParams({ email })}` : "";
      const { events, next } = await this.#api.events(`api/messages/${encodeURIComponent(id)}${address}`);
      view = { id, events, note: next ? "It has more events than are shown here." : null };
    } catch (error) {
      const rows = this.#on.loaded(id);
      const note = error.status === 404 && rows.length === 0 ? null : `Only what is loaded here: ${error.message}.`;
      view = { id, rows, note, missing: rows.length === 0 ? error.message : null };
    }
    if (shown === this.#shown) this.#fill(messageView(view, this.#tools()));
  }

  /** An event that belongs to no message: a change of a list, or something new. */
  event(row) {
    this.#show("Event");
    this.#fill(eventView(row, this.#tools()));
  }

  recipient(person) {
    const shown = this.#show("Person");
    const view = new PersonView(this.#api, person, this.#tools());
    this.#body.replaceChildren(view.element);
    view.load(() => shown === this.#shown);
  }

  /** A person's events are to be forgotten: what is shown may be theirs. */
  erased() {
    if (!this.open) return;
    // What was asked for before may be answered with them.
    this.#shown += 1;
    clearTimeout(this.#timer);
    this.#fill([h("p", { className: "note" }, "A person’s events were erased. What was shown here may have been among them.")]);
  }

  #show(title) {
    if (!this.open) {
      this.#opener = document.activeElement;
      this.#panel.hidden = false;
      document.body.dataset.panel = "";
    }
    this.#title.textContent = title;
    return (this.#shown += 1);
  }

  /** For a reader who came by the keyboard. */
  focus() {
    this.#title.focus();
  }

  /** The JSON of an event stays the element it is when more is known: unfolded, focused, and saying what it said. */
  #fill(elements) {
    const json = (within) => [...within.querySelectorAll("details[data-cursor]")];
    const kept = new Map(json(this.#body).map((details) => [details.dataset.cursor, details]));
    const focused = document.activeElement;
    this.#body.replaceChildren(...elements);
    for (const details of json(this.#body)) details.replaceWith(kept.get(details.dataset.cursor) ?? details);
    if (this.#body.contains(focused)) focused.focus();
  }

  #tools() {
    return {
      times: this.#times(),
      api: this.#api,
      recipient: (address) => this.#on.recipient(address),
      message: (id, row) => this.#on.message(id, row),
      filter: (name, value) => this.#on.filter(name, value),
    };
  }
}
