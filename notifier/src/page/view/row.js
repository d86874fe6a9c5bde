// One event as a row of the table.

import { $ } from "./dom.js";
import { nameOf } from "./kinds.js";

/** What is shown where an event has no such field. */
export const ABSENT = "–";

export class RowView {
  #row = $("#row").content.firstElementChild;
  #notice = $("#notice").content.firstElementChild;
  #times;

  /** @param times a function that gives how moments are written now */
  constructor(times) {
    this.#times = times;
  }

  make(row, fresh) {
    const element = row.notice ? this.#makeNotice(row) : this.#makeRow(row);
    if (fresh) element.classList.add("fresh");
    return element;
  }

  #makeRow(row) {
    const element = this.#row.cloneNode(true);
    if (row.cursor) element.dataset.cursor = row.cursor;
    if (row.kind) element.dataset.kind = row.kind;
    const [time, event, state, email, subject, tags, id] = element.children;
    this.#fillTime(time.firstElementChild, row);
    fill(event, row.kind && nameOf(row.kind), row.kind);
    fill(state, row.state);
    fill(email, row.email);
    fill(subject, row.subject);
    fill(tags, row.tags.join(", ") || null);
    fill(id, row.id);
    return element;
  }

  #makeNotice({ notice }) {
    const element = this.#notice.cloneNode(true);
    element.firstElementChild.textContent = notice;
    element.firstElementChild.title = notice;
    return element;
  }

  #fillTime(element, row) {
    const at = row.receivedAt ?? row.happenedAt;
    if (at === null) {
      element.textContent = ABSENT;
      return;
    }
    const times = this.#times();
    element.dateTime = new Date(at).toISOString();
    element.textContent = times.short(at);
    const lines = [];
    if (row.happenedAt !== null) lines.push(`Happened ${times.full(row.happenedAt)}`);
    if (row.receivedAt !== null) lines.push(`Received ${times.full(row.receivedAt)}`);
    element.parentElement.title = lines.join("\n");
  }
}

/** The text and, since it may not fit, the same as a tooltip. */
function fill(cell, text, title = text) {
  cell.textContent = text ?? ABSENT;
  if (text) cell.title = title;
  else cell.classList.add("absent");
}
