// The table of events. Shows the newest rows of the list, at most a set number, and puts its work into one
// animation frame. While the reader is down in older rows, new ones wait until they are asked for.

import { ABSENT } from "./model.js";

/** Rows in the document at once. */
export const SHOWN_MAX = 1_000;

/** New rows are pointed out while they are few and come after a pause; more would flicker. */
const POINTED_OUT_MAX = 12;
const PAUSE_MS = 250;

/** Further down than this, the reader is reading. */
const READING_PX = 40;

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

export class Table {
  #list;
  #body;
  #scroller;
  #newer;
  #empty;
  #row;
  #notice;

  #shownEnd = 0; // the list's index after the newest row shown
  #shownAt = 0; // when that was
  #generation = 0;
  #frame = null;

  constructor(list, document) {
    this.#list = list;
    this.#body = document.querySelector("#events tbody");
    this.#scroller = document.querySelector("#scroller");
    this.#newer = document.querySelector("#newer");
    this.#empty = document.querySelector("#empty");
    this.#row = document.querySelector("#row").content.firstElementChild;
    this.#notice = document.querySelector("#notice").content.firstElementChild;

    this.#scroller.addEventListener("scroll", () => this.update(), { passive: true });
    this.#newer.addEventListener("click", () => {
      this.#scroller.scrollTo({ top: 0 });
      this.#scroller.focus({ preventScroll: true });
      this.update();
    });
  }

  /** The list changed: show it in the next frame. */
  update() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#render();
    });
  }

  #render() {
    if (this.#generation !== this.#list.generation) {
      this.#generation = this.#list.generation;
      this.#shownEnd = 0;
      this.#body.replaceChildren();
    }
    const waiting = this.#list.end - Math.max(this.#shownEnd, this.#list.start);
    const holds = this.#shownEnd > 0 && this.#scroller.scrollTop > READING_PX;
    if (waiting > 0 && !holds) this.#show(waiting);
    this.#newer.hidden = !(holds && waiting > 0);
    if (!this.#newer.hidden) this.#newer.textContent = `↑ ${waiting.toLocaleString()} new`;
    this.#empty.hidden = this.#list.size > 0;
  }

  #show(waiting) {
    const rows = this.#list.since(this.#shownEnd, SHOWN_MAX);
    this.#shownEnd = this.#list.end;
    const fragment = document.createDocumentFragment();
    for (const row of rows.reverse()) fragment.append(row.notice ? this.#noticeElement(row) : this.#rowElement(row));
    const now = performance.now();
    if (waiting <= POINTED_OUT_MAX && now - this.#shownAt > PAUSE_MS) {
      for (const element of fragment.children) element.classList.add("fresh");
    }
    this.#shownAt = now;
    if (waiting >= SHOWN_MAX) this.#body.replaceChildren(fragment);
    else this.#body.prepend(fragment);
    while (this.#body.childElementCount > SHOWN_MAX) this.#body.lastElementChild.remove();
  }

  #rowElement(row) {
    const element = this.#row.cloneNode(true);
    if (row.cursor) element.dataset.cursor = row.cursor;
    if (row.kind) element.dataset.kind = row.kind;
    const [time, event, state, email, subject, id] = element.children;
    fillTime(time.firstElementChild, row);
    fill(event, row.kind);
    fill(state, row.state);
    fill(email, row.email);
    fill(subject, row.subject);
    fill(id, row.id);
    return element;
  }

  #noticeElement({ notice }) {
    const element = this.#notice.cloneNode(true);
    element.firstElementChild.textContent = notice;
    return element;
  }
}

/** The text and, since it may not fit, the same as a tooltip. */
function fill(cell, text) {
  cell.textContent = text ?? ABSENT;
  if (text) cell.title = text;
  else cell.classList.add("absent");
}

function fillTime(element, row) {
  const at = row.receivedAt ?? row.happenedAt;
  if (at === null) {
    element.textContent = ABSENT;
    return;
  }
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  element.dateTime = date.toISOString();
  element.textContent = (today ? CLOCK : DAY).format(date);
  const lines = [];
  if (row.happenedAt !== null) lines.push(`Happened ${FULL.format(row.happenedAt)}`);
  if (row.receivedAt !== null) lines.push(`Received ${FULL.format(row.receivedAt)}`);
  element.parentElement.title = lines.join("\n");
}
