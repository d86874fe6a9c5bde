// One person's events, the newest first, older ones on demand.

import { h } from "./dom.js";
import { rowOf } from "./event.js";
import { nameOf } from "./kinds.js";
import { count } from "./words.js";

const PAGE = 100;

export class PersonView {
  element;
  #api;
  #person;
  #tools;
  #next = null;
  #loaded = 0;
  #list = h("ol", { className: "timeline" });
  #note = h("p", { className: "note", role: "status" });
  #more = h("button", { type: "button", hidden: true }, "Older events");

  constructor(api, person, tools) {
    this.#api = api;
    this.#person = person;
    this.#tools = tools;
    this.element = h("div", {},
      h("p", { className: "subject" }, person),
      h("p", { className: "actions" }, h("button", { type: "button", on: { click: () => tools.filter("email", person) } }, "Only this person in the table")),
      this.#note, this.#list, this.#more);
  }

  /** @param wanted whether it is still what is looked at */
  async load(wanted) {
    this.#more.onclick = () => this.load(wanted);
    this.#note.textContent = "Loading…";
    try {
      const before = this.#next ? `&${new URLSearchParams({ before: this.#next })}` : "";
      const { events, next } = await this.#api.events(`api/recipients/${encodeURIComponent(this.#person)}?limit=${PAGE}${before}`);
      if (!wanted()) return;
      this.#next = next;
      this.#loaded += events.length;
      this.#list.append(...events.map(({ event, json }) => this.#entry(rowOf(event, json))));
      this.#note.textContent = this.#loaded === 0 ? "Nothing of this person is stored." : `${count(this.#loaded, "event")}${next ? " and more" : ""}`;
      this.#more.hidden = next === null;
    } catch (error) {
      if (wanted()) this.#note.textContent = `Not loaded: ${error.message}.`;
      this.#more.hidden = false;
      this.#more.textContent = "Try again";
    }
  }

  #entry(row) {
    const at = row.happenedAt ?? row.receivedAt;
    const { times, message } = this.#tools;
    return h("li", { data: { kind: row.kind } },
      row.id ? h("button", { type: "button", className: "link", on: { click: () => message(row.id, row) } }, nameOf(row.kind)) : h("b", {}, nameOf(row.kind)),
      at === null ? null : h("time", { dateTime: new Date(at).toISOString(), title: times.full(at) }, times.short(at)),
      row.subject && h("p", {}, row.subject));
  }
}
