// The keyboard: one table of keys, which the help shows.

import { $, h } from "./dom.js";

/** @typedef {{keys: string[], shown: string, text: string, run: () => void}} Binding */

/** These scroll what has the focus. */
const SCROLLING = [" ", "ArrowDown", "ArrowUp", "PageDown", "PageUp"];

export class Keys {
  /** Whether keys of one character do anything: who speaks to the machine, or hits keys by chance, turns them off. */
  single = true;
  #bindings;
  #dialog = $("#help-dialog");

  /** @param {Binding[]} bindings */
  constructor(bindings) {
    this.#bindings = [...bindings, { keys: ["?"], shown: "?", text: "This help", run: () => this.help() }];
    $("#keys").append(...this.#bindings.flatMap(({ shown, text }) => [h("dt", {}, shown.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, text)]));
    $("#open-help").addEventListener("click", () => this.help());
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  help() {
    this.#dialog.showModal();
  }

  #pressed(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if ($("dialog[open]") || takesText(event.target)) return;
    // A focused control keeps the keys that work it.
    if (event.target.closest("button, summary, a, select, [role=option]") && [" ", "Enter", "ArrowDown", "ArrowUp"].includes(event.key)) return;
    if (event.target.closest("#panel, #rates") && SCROLLING.includes(event.key)) return;
    if (!this.single && event.key.length === 1) return;
    const binding = this.#bindings.find(({ keys }) => keys.includes(event.key));
    if (!binding) return;
    event.preventDefault();
    binding.run();
  }
}

function takesText(element) {
  return element.closest("textarea, select, [contenteditable]") !== null || (element.tagName === "INPUT" && element.type === "text");
}
