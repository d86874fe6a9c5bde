// What is looked at, kept in the address bar's fragment: it can be shared, the browser's back goes back, and no server
// ever sees it.

import { readFragment, sameFilter, withValues, withoutValue, writeFragment } from "./filters.js";

export class Place {
  #now = readFragment(location.hash);
  #on;

  /** @param on hears `changed(place, before)` */
  constructor(on) {
    this.#on = on;
    addEventListener("popstate", () => this.#take(readFragment(location.hash)));
  }

  get now() {
    return this.#now;
  }

  add(name, ...values) {
    this.#go({ filter: withValues(this.#now.filter, name, values) });
  }

  remove(name, value) {
    this.#go({ filter: withoutValue(this.#now.filter, name, value) });
  }

  toggle(name, value) {
    if (this.#now.filter[name]?.includes(value)) this.remove(name, value);
    else this.add(name, value);
  }

  clear() {
    this.#go({ filter: {}, search: "" });
  }

  /** Each letter typed is no step to go back to. */
  search(search) {
    this.#go({ search }, "replaceState");
  }

  message(message) {
    this.#go({ message, recipient: null });
  }

  recipient(recipient) {
    this.#go({ recipient, message: null });
  }

  closePanel() {
    if (this.#now.message || this.#now.recipient) this.#go({ message: null, recipient: null });
  }

  #go(change, how = "pushState") {
    const place = { ...this.#now, ...change };
    const fragment = writeFragment(place);
    if (fragment === writeFragment(this.#now)) return;
    history[how](null, "", fragment ? `#${fragment}` : location.pathname + location.search);
    this.#take(place);
  }

  #take(place) {
    const before = this.#now;
    this.#now = place;
    this.#on.changed(place, {
      filter: !sameFilter(place.filter, before.filter),
      search: place.search !== before.search,
      panel: place.message !== before.message || place.recipient !== before.recipient,
    });
  }
}
