// How many events of each kind in each step of a window: the server's counts, and on top of them what came since. Pure.

import { ALARMING } from "./kinds.js";

/** The windows offered: each is sixty steps. */
export const WINDOWS = new Map([
  ["5m", { name: "5 minutes", step: "5s", stepMs: 5_000 }],
  ["15m", { name: "15 minutes", step: "15s", stepMs: 15_000 }],
  ["1h", { name: "1 hour", step: "1m", stepMs: 60_000 }],
  ["6h", { name: "6 hours", step: "6m", stepMs: 360_000 }],
  ["24h", { name: "24 hours", step: "24m", stepMs: 1_440_000 }],
]);

export const STEPS = 60;

/** Kinds counted apart: Mandrill's, but nothing says how many there are. */
const KINDS_MAX = 64;

/** Events kept until the server has counted them. Where more come, the older ones are missing until then. */
const UNCOUNTED_MAX = 50_000;

export class Counts {
  #stepMs;
  #steps = new Map(); // by the step's number since 1970: counts by kind
  #now = 0; // the newest step
  #countedTo = -Infinity; // the server's counts hold what was received until then
  #uncounted = []; // and not these

  /** Since when nothing is missing, in milliseconds since 1970. */
  completeFrom;

  constructor(stepMs, now) {
    this.#stepMs = stepMs;
    this.completeFrom = now;
    this.#now = Math.floor(now / stepMs);
  }

  get stepMs() {
    return this.#stepMs;
  }

  /** An event arrived, now or long ago. Times are the server's, in milliseconds since 1970. */
  add(kind, receivedAt) {
    if (receivedAt <= this.#countedTo) return;
    this.#uncounted.push({ kind, receivedAt });
    if (this.#uncounted.length > UNCOUNTED_MAX) this.#uncounted.splice(0, UNCOUNTED_MAX / 2);
    this.#count(kind, receivedAt);
  }

  #count(kind, receivedAt) {
    const step = Math.floor(receivedAt / this.#stepMs);
    if (step <= this.#now - STEPS) return;
    this.roll(receivedAt);
    const counts = this.#of(step);
    const name = counts.has(kind) || counts.size < KINDS_MAX ? kind : "other";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }

  /** Time went on; it never goes back. */
  roll(now) {
    const newest = Math.floor(now / this.#stepMs);
    if (newest <= this.#now) return;
    this.#now = newest;
    for (const step of this.#steps.keys()) if (step <= newest - STEPS) this.#steps.delete(step);
  }

  /** The server's counts take the place of ours, but for the events that its answer was too early for. */
  load({ from, step_ms: stepMs, counts, complete_from: completeFrom, counted_to: countedTo, to }) {
    if (stepMs !== this.#stepMs) return;
    this.roll(to - 1);
    this.#steps = new Map();
    for (const [kind, values] of Object.entries(counts)) {
      values.forEach((count, at) => {
        if (count > 0) this.#of(Math.round(from / stepMs) + at).set(kind, count);
      });
    }
    this.completeFrom = completeFrom ?? to;
    this.#countedTo = countedTo;
    this.#uncounted = this.#uncounted.filter(({ receivedAt }) => receivedAt > countedTo);
    for (const { kind, receivedAt } of this.#uncounted) this.#count(kind, receivedAt);
  }

  /** Oldest first: when each step began, how many events, and how many of them alarm. */
  bars() {
    return Array.from({ length: STEPS }, (_, at) => {
      const step = this.#now - STEPS + 1 + at;
      let [total, alarming] = [0, 0];
      for (const [kind, count] of this.#steps.get(step) ?? []) {
        total += count;
        if (ALARMING.has(kind) || kind === "soft_bounce") alarming += count;
      }
      return { at: step * this.#stepMs, total, alarming };
    });
  }

  /** How many of each kind in the window. */
  totals() {
    const totals = new Map();
    for (const counts of this.#steps.values()) {
      for (const [kind, count] of counts) totals.set(kind, (totals.get(kind) ?? 0) + count);
    }
    return totals;
  }

  #of(step) {
    let counts = this.#steps.get(step);
    if (!counts) this.#steps.set(step, (counts = new Map()));
    return counts;
  }
}

/** Events a second over the last ten seconds, by when they were received. Times are in milliseconds, of one clock. */
export class Rate {
  #counts = new Map(); // events by second

  add(receivedAt, now) {
    const second = Math.floor(receivedAt / 1000);
    this.#counts.set(second, (this.#counts.get(second) ?? 0) + 1);
    this.#forget(now);
  }

  perSecond(now) {
    this.#forget(now);
    let events = 0;
    for (const count of this.#counts.values()) events += count;
    return events / RATE_SECONDS;
  }

  #forget(now) {
    const over = Math.floor(now / 1000) - RATE_SECONDS;
    for (const second of this.#counts.keys()) if (second <= over) this.#counts.delete(second);
  }
}

const RATE_SECONDS = 10;
