// At a glance: the rate over time, how mail does, and a counter a kind that is a filter as well.

import { ALARMING, COUNTED, nameOf } from "./kinds.js";
import { barAt, paths, sentence } from "./chart.js";
import { Counts, Rate, WINDOWS } from "./counts.js";
import { $, h, write } from "./dom.js";
import { percent, ratios } from "./ratios.js";
import { query } from "./filters.js";

/** Between two questions for the server's counts. */
export const POLL_MS = 10_000;

export class Glance {
  #api;
  #times;
  #on;
  #filter = {};
  #window;
  #counts;
  #rate;
  #counters = new Map();
  #ratios = new Map();
  #asked = 0;
  #error = null;
  #chart = $("#chart");
  #caption = $("#rate-caption");
  #select = $("#window");

  /** @param on hears `toggle(kind)` and `window(name)` */
  constructor(api, times, window, on) {
    this.#api = api;
    this.#times = times;
    this.#on = on;
    for (const [value, { name }] of WINDOWS) this.#select.append(h("option", { value }, `Last ${name}`));
    this.#window = WINDOWS.has(window) ? window : "1h";
    this.#select.value = this.#window;
    this.#select.addEventListener("change", () => {
      this.#window = this.#select.value;
      on.window(this.#window);
      this.#begin();
      this.poll();
    });
    this.#chart.addEventListener("pointermove", (event) => this.#point(event));
    this.#chart.addEventListener("pointerleave", () => write(this.#caption, ""));
    for (const { name, called } of ratios(new Map())) this.#ratios.set(name, this.#addRatio(name, called));
    for (const kind of COUNTED) this.#addCounter(kind);
    this.#rate = new Rate();
    this.#begin();
  }

  /** Another filter. Kinds are left out of it: the counters show those that can be chosen as well. */
  look(filter) {
    this.#filter = filter;
    // The newest events come again.
    this.#rate = new Rate();
    this.#begin();
    for (const [kind, { button }] of this.#counters) button.ariaPressed = String(this.#isChosen(kind));
    return this.poll();
  }

  #begin() {
    this.#counts = new Counts(WINDOWS.get(this.#window).stepMs, this.#api.now());
    this.show();
  }

  #isChosen(kind) {
    return this.#filter.event?.includes(kind) ?? false;
  }

  /** An event arrived. */
  add(row) {
    const now = this.#api.now();
    const receivedAt = row.receivedAt ?? now;
    this.#counts.add(row.kind ?? "unknown", receivedAt);
    this.#rate.add(receivedAt, now);
  }

  async poll() {
    const asked = (this.#asked += 1);
    const { event: _, ...filter } = this.#filter;
    const { step } = WINDOWS.get(this.#window);
    try {
      const stats = await this.#api.json(`api/stats?${query(filter, { window: this.#window, step })}`);
      if (asked !== this.#asked) return;
      this.#counts.load(stats);
      this.#error = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#error = error.message;
    }
    this.show();
  }

  /** Also as time goes on. */
  show() {
    this.#counts.roll(this.#api.now());
    const totals = this.#counts.totals();
    this.#showChart();
    this.#showRatios(totals);
    this.#showCounters(totals);
    this.#showNote();
    const perSecond = this.#rate.perSecond(this.#api.now());
    write($("#rate-now b"), perSecond.toLocaleString(undefined, { maximumFractionDigits: perSecond < 10 ? 1 : 0 }));
  }

  #showChart() {
    const bars = this.#counts.bars();
    const { total, alarming } = paths(bars);
    for (const [name, path] of Object.entries({ total, alarming })) {
      const element = $(`.${name}`, this.#chart);
      if (element.getAttribute("d") !== path) element.setAttribute("d", path);
    }
    const label = sentence(bars, WINDOWS.get(this.#window).name, this.#counts.stepMs);
    if (this.#chart.ariaLabel !== label) this.#chart.ariaLabel = label;
  }

  #point(event) {
    const box = this.#chart.getBoundingClientRect();
    const bar = barAt(this.#counts.bars(), (event.clientX - box.left) / box.width);
    const bad = bar.alarming > 0 ? `, ${bar.alarming.toLocaleString()} of them bad` : "";
    write(this.#caption, `${this.#times().clock(bar.at)}: ${bar.total.toLocaleString()}${bad}`);
  }

  #showRatios(totals) {
    for (const { name, part, numbers: said, ratio } of ratios(totals)) {
      const { value, numbers, element } = this.#ratios.get(name);
      write(value, percent(ratio));
      write(numbers, said);
      element.toggleAttribute("data-some", part > 0);
    }
  }

  #showCounters(totals) {
    for (const kind of totals.keys()) if (!this.#counters.has(kind)) this.#addCounter(kind);
    for (const [kind, { number, button }] of this.#counters) {
      const count = totals.get(kind) ?? 0;
      write(number, count.toLocaleString());
      button.toggleAttribute("data-some", count > 0);
    }
  }

  /** Numbers are never shown as more than they are. */
  #showNote() {
    const note = $("#glance-note");
    const { completeFrom } = this.#counts;
    const from = this.#counts.bars()[0].at;
    const partial = completeFrom > from + this.#counts.stepMs;
    const because = this.#error ? ` (${this.#error})` : "";
    write(note, partial ? `Counted since ${this.#times().clock(completeFrom)} only${because}` : this.#error ? `Not up to date: ${this.#error}` : "");
    note.hidden = note.textContent === "";
  }

  #addRatio(name, called) {
    const value = h("b", {}, "–");
    const numbers = h("span");
    const element = h("div", { data: { ratio: name } }, h("dt", {}, called), h("dd", {}, value, numbers));
    $("#ratios").append(element);
    return { value, numbers, element };
  }

  #addCounter(kind) {
    const number = h("b", {}, "0");
    const button = h("button", {
      type: "button",
      ariaPressed: String(this.#isChosen(kind)),
      data: { kind, alarming: ALARMING.has(kind) ? "" : null },
      on: { click: () => this.#on.toggle(kind) },
    }, h("span", {}, nameOf(kind)), number);
    this.#counters.set(kind, { button, number });
    $("#counters").append(button);
  }
}

