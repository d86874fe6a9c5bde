// The table: as many row elements as fit, whatever the list holds. New rows are taken in at a calm pace; scrolling is
// answered in the next frame.

import { $, write } from "./dom.js";
import { Flow } from "./flow.js";
import { RowView } from "./row.js";

/** Between two looks at what is new. More often than this nobody reads. */
export const PACE_MS = 120;

/** Rows in the document beyond those in sight, on each side. */
const OVERSCAN = 6;

/** New rows are pointed out while they are few; more would flicker. */
const POINTED_OUT_MAX = 6;

/** From so many rows before the end on, older ones are wanted. */
const OLDER_AHEAD = 40;

export class Table {
  selected = null;
  #shown;
  #on;
  #view;
  #flow = new Flow();
  #scroller = $("#scroller");
  #grid = $("#grid");
  #body = $("#events");
  #newer = $("#newer");
  #pause = $("#pause");
  #first = 0; // the numbers of the rows in the document: from the newest, downwards
  #elements = [];
  #list = null;
  #generation = 0;
  #end = 0;
  #frame = null;
  #timer = null;
  #height = 36;
  #bottom = 0; // how many rows down the document goes
  hoverPauses = true;

  /** @param on hears `open(row)`, `select(row)`, `older()` and, after each drawing, `drawn()` */
  constructor(shown, times, on) {
    this.#shown = shown;
    this.#on = on;
    this.#view = new RowView(times);
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // A finger that taps is no pointer that rests.
    this.#body.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.hold("hover"));
    this.#body.addEventListener("pointerleave", () => this.release("hover"));
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#newer.addEventListener("click", () => this.resume());
    this.#pause.addEventListener("click", () => this.toggle());
    new ResizeObserver(() => this.draw()).observe(this.#scroller);
  }

  get rests() {
    return this.#flow.rests;
  }

  /** How many rows fit. */
  get page() {
    return Math.max(1, Math.floor((this.#scroller.clientHeight - this.#body.offsetTop) / this.#height) - 1);
  }

  hold(reason) {
    if (reason === "hover" && !this.hoverPauses) return;
    if (this.#flow.hold(reason, this.#shown.list)) this.draw();
  }

  release(reason) {
    if (this.#flow.release(reason)) this.draw();
  }

  /** New rows flow again, from the top. */
  resume() {
    this.#flow.resume();
    this.#scroller.scrollTo({ top: 0 });
    this.draw();
  }

  toggle() {
    if (this.rests) this.resume();
    else this.hold("reader");
  }

  /** The list changed: it is looked at soon. */
  update() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.draw();
    }, PACE_MS);
  }

  /** In the next frame. */
  draw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  /** Times are written anew, or rows look different. */
  redraw() {
    this.#elements = [];
    this.#body.replaceChildren();
    this.draw();
  }

  /** Moves the selection by so many rows; the table rests while there is one. */
  move(by) {
    const { list } = this.#shown;
    const end = this.#flow.end(list);
    if (end === list.start) return;
    this.hold("reader");
    const now = this.selected === null ? end : this.#numberOf(this.selected) ?? end;
    const number = Math.max(list.start, Math.min(end - 1, now - by));
    this.select(list.at(number));
    this.#reveal(end - 1 - number);
  }

  select(row) {
    this.selected = row;
    this.draw();
    this.#on.select(row);
  }

  #numberOf(row) {
    const { list } = this.#shown;
    for (let number = list.end - 1; number >= list.start; number--) if (list.at(number) === row) return number;
    return null;
  }

  #reveal(position) {
    const head = this.#body.offsetTop;
    const top = position * this.#height;
    const { scrollTop, clientHeight } = this.#scroller;
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight - head) this.#scroller.scrollTop = top + this.#height + head - clientHeight;
  }

  #clicked(event) {
    const element = event.target.closest("[role=row]");
    const row = element && this.#elements.find((known) => known.element === element)?.row;
    if (!row || row.notice || getSelection().toString()) return;
    this.selected = row;
    this.draw();
    this.#on.open(row);
  }

  #scrolled() {
    if (this.#scroller.scrollTop > this.#height) this.#flow.hold("scroll", this.#shown.list);
    else this.#flow.release("scroll");
    this.draw();
  }

  #draw() {
    const { list } = this.#shown;
    if (list !== this.#list || list.generation !== this.#generation) this.#begin(list);
    const end = this.#flow.end(list);
    const total = end - list.start;
    this.#height = parseFloat(getComputedStyle(this.#body).getPropertyValue("--row")) || 36;
    this.#place(list, end, total);
    this.#tell(list, total);
    if (this.#bottom + OLDER_AHEAD > total) this.#on.older();
    this.#on.drawn();
  }

  #begin(list) {
    this.#list = list;
    this.#generation = list.generation;
    this.#flow.reset(list);
    this.#elements = [];
    this.#body.replaceChildren();
    this.#end = list.end;
  }

  /** Puts exactly the rows in sight into the document, in their order, and keeps the elements that stay. */
  #place(list, end, total) {
    const { scrollTop, clientHeight } = this.#scroller;
    const top = Math.max(0, Math.floor(scrollTop / this.#height) - OVERSCAN);
    const bottom = Math.min(total, Math.ceil((scrollTop + clientHeight) / this.#height) + OVERSCAN);
    this.#bottom = bottom;
    const [newest, oldest] = [end - 1 - top, end - bottom];
    const fresh = end - this.#end <= POINTED_OUT_MAX ? this.#end : Infinity;
    this.#end = end;

    const stays = ({ number }) => number <= newest && number >= oldest;
    for (const gone of this.#elements.filter((known) => !stays(known))) gone.element.remove();
    this.#elements = this.#elements.filter(stays);
    const [known, last] = [this.#elements[0]?.number ?? oldest - 1, this.#elements.at(-1)?.number ?? oldest];

    const above = this.#make(list, newest, Math.max(known + 1, oldest), fresh);
    const below = this.#elements.length > 0 ? this.#make(list, last - 1, oldest, fresh) : [];
    this.#body.prepend(...above.map(({ element }) => element));
    this.#body.append(...below.map(({ element }) => element));
    this.#elements = [...above, ...this.#elements, ...below];

    this.#body.style.blockSize = `${total * this.#height}px`;
    this.#body.style.paddingBlockStart = `${top * this.#height}px`;
    this.#number(end);
  }

  #make(list, from, to, fresh) {
    const made = [];
    for (let number = from; number >= to; number--) {
      const row = list.at(number);
      made.push({ number, row, element: this.#view.make(row, number >= fresh) });
    }
    return made;
  }

  #number(end) {
    let active = "";
    for (const { element, number, row } of this.#elements) {
      const index = String(end - number + 1);
      if (element.ariaRowIndex !== index) element.ariaRowIndex = index;
      const selected = row === this.selected;
      if (selected) active = "selected-row";
      if (selected !== (element.id !== "")) {
        element.id = selected ? "selected-row" : "";
        element.ariaSelected = selected ? "true" : null;
      }
    }
    if (active) this.#grid.setAttribute("aria-activedescendant", active);
    else this.#grid.removeAttribute("aria-activedescendant");
  }

  #tell(list, total) {
    this.#grid.ariaRowCount = String(total + 1);
    const waiting = this.#flow.waiting(list);
    this.#newer.hidden = waiting === 0;
    if (waiting > 0) write(this.#newer, `↑ ${waiting.toLocaleString()} new – Space`);
    this.#pause.ariaPressed = String(this.rests);
    write(this.#pause, this.rests ? "Resume" : "Pause");
    document.body.toggleAttribute("data-rests", this.rests);
  }
}
