// Toasts: a few new events each get one; when more come at once, all of them share one that counts them.

import { ALARMING, nameOf } from "./kinds.js";
import { ABSENT } from "./row.js";

/** Toasts of single events at once; one event more, and they share one. */
const SINGLE_MAX = 3;

/** How long a toast stays after its last change. */
const STAY_MS = 6_000;

/** The shared toast is written anew at most this often: screen readers speak each change. */
const REWRITE_MS = 1_000;

/** After the shared toast was dismissed, there are none until nothing came for this long. */
const CALM_MS = 10_000;

/** Kinds that the shared toast names; the others are in its total. */
const NAMED_MAX = 3;

/** Kinds it counts apart: they are Mandrill's, but nothing says how many there are. */
const COUNTED_MAX = 32;

export class Toasts {
  #enabled = true;
  #region;
  #template;
  #singles = [];
  #shared = null;
  #counts = new Map(); // what the shared toast tells, by kind
  #rewrite = null;
  #quietUntil = 0;

  constructor(document) {
    this.#region = document.querySelector("#toasts");
    this.#template = document.querySelector("#toast").content.firstElementChild;
  }

  set enabled(enabled) {
    this.#enabled = enabled;
    if (!enabled) this.clear();
  }

  clear() {
    for (const toast of [...this.#singles, this.#shared]) toast?.close();
  }

  add(row) {
    if (!this.#enabled || this.#mustBeQuiet()) return;
    if (!this.#shared && this.#singles.length < SINGLE_MAX) this.#single(row);
    else this.#share(row);
  }

  /** Each event that comes while toasts are unwanted makes it last longer. */
  #mustBeQuiet() {
    const now = Date.now();
    if (now >= this.#quietUntil) return false;
    this.#quietUntil = now + CALM_MS;
    return true;
  }

  #single({ kind, email }) {
    const toast = this.#toast(kind, () => (this.#singles = this.#singles.filter((other) => other !== toast)));
    toast.write(nameOf(kind), email ?? ABSENT);
    this.#singles.push(toast);
  }

  #share({ kind }) {
    if (!this.#shared) {
      this.#shared = this.#toast("group", (dismissed) => this.#sharedClosed(dismissed));
      for (const single of [...this.#singles]) {
        this.#count(single.kind);
        single.close();
      }
      this.#count(kind);
      this.#writeShared();
    } else {
      this.#count(kind);
      this.#rewrite ??= setTimeout(() => this.#writeShared(), REWRITE_MS);
    }
  }

  #count(kind) {
    const name = kind && (this.#counts.has(kind) || this.#counts.size < COUNTED_MAX) ? kind : "other";
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  #writeShared() {
    this.#rewrite = null;
    this.#shared.write(...summary(this.#counts));
  }

  #sharedClosed(dismissed) {
    clearTimeout(this.#rewrite);
    this.#rewrite = this.#shared = null;
    this.#counts.clear();
    if (dismissed) this.#quietUntil = Date.now() + CALM_MS;
  }

  #toast(kind, closed) {
    const element = this.#template.cloneNode(true);
    if (kind) element.dataset.kind = kind;
    return new Toast(this.#region, element, kind, closed);
  }
}

/** One toast, from its first text until it is dismissed or its time is over. */
class Toast {
  #region;
  #element;
  #closed;
  #timer = null;

  constructor(region, element, kind, closed) {
    this.#region = region;
    this.#element = element;
    this.#closed = closed;
    this.kind = kind;
    element.querySelector("button").addEventListener("click", () => this.close(true));
  }

  write(title, text) {
    this.#element.querySelector("strong").textContent = title;
    this.#element.querySelector("span").textContent = text;
    if (!this.#element.isConnected) this.#region.append(this.#element);
    this.#stay();
  }

  close(dismissed = false) {
    clearTimeout(this.#timer);
    this.#element.remove();
    this.#closed(dismissed);
  }

  #stay() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#expire(), STAY_MS);
  }

  /** Nothing vanishes under the pointer or the focus. */
  #expire() {
    if (this.#element.matches(":hover, :focus-within")) this.#stay();
    else this.close();
  }
}

/** A shared toast's title and text: how many, and of which kinds: what alarms first, then what there is most of. */
export function summary(counts) {
  const kinds = [...counts].sort(([a, fewer], [b, more]) => ALARMING.has(b) - ALARMING.has(a) || more - fewer);
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  const named = kinds.slice(0, NAMED_MAX);
  const others = total - named.reduce((sum, [, count]) => sum + count, 0);
  if (others > 0) named.push(["others", others]);
  const text = named.map(([kind, count]) => `${count.toLocaleString()}\u00A0${nameOf(kind)}`).join(" · ");
  return [`${total.toLocaleString()} new events`, text];
}
