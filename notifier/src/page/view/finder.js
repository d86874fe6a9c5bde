// Finding: one field for free text and for filters, suggestions of what was seen, and a chip for each value in force.

import { $, h, write } from "./dom.js";
import { calledOf, readTyped, valuesOf } from "./filters.js";
import { shownValue } from "./suggestions.js";

/** Free text is looked for when the reader pauses. */
const PAUSE_MS = 120;

export class Finder {
  #seen;
  #on;
  #input = $("#find");
  #list = $("#suggestions");
  #chips = $("#chips");
  #clear = $("#clear");
  #options = [];
  #active = -1;
  #timer = null;

  /** @param on hears `add(name, value)`, `remove(name, value)`, `search(text)` and `clear()` */
  constructor(seen, on) {
    this.#seen = seen;
    this.#on = on;
    this.#input.addEventListener("input", () => this.#typed());
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => this.#close());
    this.#clear.addEventListener("click", () => on.clear());
    // The field keeps the focus while a suggestion is chosen.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** What is in force, from wherever it was changed. */
  show({ filter, search }) {
    if (document.activeElement !== this.#input) this.#input.value = search;
    const values = Object.entries(filter).flatMap(([name, all]) => all.map((value) => [name, value]));
    this.#chips.replaceChildren(...values.map(([name, value]) => this.#chip(name, value)));
    this.#chips.hidden = values.length === 0;
    this.#clear.hidden = values.length === 0 && search === "";
  }

  found(text) {
    write($("#found"), text);
  }

  #chip(name, value) {
    const label = `${calledOf(name)}: ${shownValue(name, value)}`;
    return h("li", { className: "chip", title: label },
      h("span", {}, calledOf(name)), h("b", {}, shownValue(name, value)),
      h("button", { type: "button", ariaLabel: `Remove ${label}`, on: { click: () => this.#remove(name, value) } }, "×"));
  }

  #remove(name, value) {
    this.#on.remove(name, value);
    this.#input.focus();
  }

  #typed() {
    this.#suggest();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // `tag:orders` is a filter that is being typed, not a text to look for.
      if (!readTyped(this.#input.value)) this.#on.search(this.#input.value);
    }, PAUSE_MS);
  }

  #suggest() {
    const found = this.#seen.suggest(this.#input.value);
    this.#active = -1;
    this.#options = found.map(({ name, value, count }, at) => ({ name, value, count, element: this.#option(name, value, count, at) }));
    this.#list.replaceChildren(...this.#options.map(({ element }) => element));
    this.#open(this.#options.length > 0);
    this.#mark();
  }

  #option(name, value, count, at) {
    return h("div", { role: "option", id: `suggestion-${at}`, on: { click: () => this.#choose(at) } },
      h("span", {}, calledOf(name)), h("b", {}, shownValue(name, value)),
      h("small", {}, count > 0 ? `${count.toLocaleString()} seen` : "not seen yet"));
  }

  #key(event) {
    if (event.isComposing) return;
    const open = !this.#list.hidden;
    switch (event.key) {
      case "ArrowDown":
      case "ArrowUp":
        if (!open) this.#suggest();
        this.#step(event.key === "ArrowDown" ? 1 : -1);
        break;
      case "Enter":
        this.#enter();
        break;
      case "Escape":
        if (open) this.#close();
        else if (this.#input.value) this.#set("");
        else this.#input.blur();
        break;
      case "Backspace":
        if (this.#input.value !== "" || this.#chips.childElementCount === 0) return;
        this.#chips.lastElementChild.querySelector("button").click();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #step(by) {
    const count = this.#options.length;
    if (count === 0) return;
    this.#active = (this.#active + by + count + (this.#active < 0 && by < 0 ? 1 : 0)) % count;
    this.#mark();
  }

  #enter() {
    const typed = readTyped(this.#input.value);
    if (this.#active >= 0) this.#choose(this.#active);
    else if (typed?.value) this.#take(typed.name, valuesOf(typed.value));
    else this.#close();
  }

  #choose(at) {
    const { name, value, count } = this.#options[at];
    // What was not seen is as it was typed, perhaps several.
    this.#take(name, count > 0 ? [value] : valuesOf(value));
  }

  /** Values become a filter, and the field is free again. */
  #take(name, values) {
    this.#set("");
    this.#close();
    this.#on.add(name, ...values);
  }

  #set(text) {
    clearTimeout(this.#timer);
    this.#input.value = text;
    this.#on.search(text);
  }

  #mark() {
    this.#options.forEach(({ element }, at) => (element.ariaSelected = String(at === this.#active)));
    const active = this.#options[this.#active]?.element;
    if (active) this.#input.setAttribute("aria-activedescendant", active.id);
    else this.#input.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  #open(open) {
    this.#list.hidden = !open;
    this.#input.ariaExpanded = String(open);
  }

  #close() {
    this.#open(false);
    this.#active = -1;
    this.#mark();
  }
}
