// Export of the current view, as the service streams it. The file's last line says whether it is complete; so does
// this dialog.

import { $, save } from "./dom.js";
import { calledOf, query } from "./filters.js";
import { shownValue } from "./suggestions.js";

/** The last line of a file is never longer than this, in bytes. */
const LAST_LINE_MAX = 4_096;

export class Exporting {
  #api;
  #place;
  #dialog = $("#export-dialog");
  #state = $("#export-state");
  #cancel = $("#export-cancel");
  #abort = null;

  /** @param place a function that gives what is looked at */
  constructor(api, place) {
    this.#api = api;
    this.#place = place;
    $("#open-export").addEventListener("click", () => this.open());
    this.#cancel.addEventListener("click", () => this.#abort?.abort());
    for (const button of this.#dialog.querySelectorAll("[data-format]")) {
      button.addEventListener("click", () => this.#run(button.dataset.format));
    }
  }

  open() {
    const { filter, search } = this.#place();
    const terms = Object.entries(filter).map(([name, values]) => `${calledOf(name)}: ${values.map((value) => shownValue(name, value)).join(" or ")}`);
    const all = terms.length > 0 ? terms.join("; ") : "No filter is in force: everything that is stored.";
    $("#export-filter").textContent = search ? `${all} The text “${search}” is not a part of it.` : all;
    this.#state.textContent = "";
    this.#dialog.showModal();
  }

  async #run(format) {
    if (this.#abort) return;
    this.#abort = new AbortController();
    this.#cancel.hidden = false;
    try {
      const { signal } = this.#abort;
      const answer = await this.#api.answer(`api/events/export?${query(this.#place().filter, { format })}`, signal);
      const blob = await this.#received(answer);
      save(blob, `mandrill-events.${format}`);
      const { complete, events, reason } = ending(format, await blob.slice(-LAST_LINE_MAX).text());
      this.#state.textContent = complete ? `Saved: ${events.toLocaleString()} events.` : `Saved, but not complete: ${reason}.`;
    } catch (error) {
      this.#state.textContent = this.#abort.signal.aborted ? "Stopped; nothing was saved." : `Not exported: ${error.message}.`;
    } finally {
      this.#abort = null;
      this.#cancel.hidden = true;
    }
  }

  /** Told as it comes; the browser keeps a large blob on disk. */
  async #received(answer) {
    const parts = [];
    let bytes = 0;
    const reader = answer.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      parts.push(piece.value);
      bytes += piece.value.length;
      this.#state.textContent = `${(bytes / 1_000_000).toFixed(1)} MB so far…`;
    }
    return new Blob(parts, { type: answer.headers.get("Content-Type") ?? "" });
  }
}

/** What the last line of an export says of the whole. */
export function ending(format, tail) {
  const line = tail.trimEnd().split(/\r?\n/).at(-1) ?? "";
  const broken = { complete: false, events: 0, reason: "the connection ended before the file did" };
  if (format === "csv") {
    const [, word, events, reason] = /^"?#(complete|incomplete)"?(?:,[^,]*?){9},"?(\d+)\s*([^",]*)/.exec(line) ?? [];
    return word ? { complete: word === "complete", events: Number(events), reason: reason || word } : broken;
  }
  try {
    const { _export: word, events, reason } = JSON.parse(line);
    return word ? { complete: word === "complete", events: Number(events) || 0, reason: String(reason ?? word) } : broken;
  } catch {
    return broken;
  }
}
