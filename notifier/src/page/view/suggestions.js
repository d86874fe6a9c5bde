// What can be filtered by: values that were seen, the most frequent first. Pure; nothing of it is stored.

import { readTyped } from "./filters.js";
import { nameOf } from "./kinds.js";

/** Values remembered of one name, and names: `metadata` may have any. */
const VALUES_MAX = 2_000;
const NAMES_MAX = 60;

export const SUGGESTED_MAX = 8;

export class Seen {
  #values = new Map(); // by name: how often each value was seen

  add(labels) {
    for (const [name, value] of labels) this.#add(name, value);
  }

  #add(name, value) {
    let values = this.#values.get(name);
    if (!values) {
      if (this.#values.size >= NAMES_MAX) return;
      this.#values.set(name, (values = new Map()));
    }
    const count = values.get(value) ?? 0;
    // The newest is last, so that the one to forget is the first.
    values.delete(value);
    values.set(value, count + 1);
    if (values.size > VALUES_MAX) values.delete(values.keys().next().value);
  }

  clear() {
    this.#values.clear();
  }

  /**
   * What somebody who types this may mean. `name:` restricts it to one filter; what was never seen can be asked for
   * all the same.
   * @returns {{name: string, value: string, count: number}[]}
   */
  suggest(typed) {
    const asked = readTyped(typed);
    const wanted = (asked ? asked.value : typed).trim().toLowerCase();
    if (!asked && wanted === "") return [];
    const found = [];
    for (const [name, values] of this.#values) {
      if (asked && asked.name !== name) continue;
      for (const [value, count] of values) if (fits(name, value, wanted)) found.push({ name, value, count });
    }
    found.sort((a, b) => rank(a, wanted) - rank(b, wanted) || b.count - a.count);
    const shown = found.slice(0, SUGGESTED_MAX);
    const exact = asked ?? (/^\S+@\S+\.\S+$/.test(wanted) ? { name: "email", value: typed.trim() } : null);
    if (exact?.value && !shown.some(({ name, value }) => name === exact.name && value.toLowerCase() === wanted)) {
      shown.unshift({ ...exact, count: 0 });
    }
    return shown.slice(0, SUGGESTED_MAX);
  }
}

function fits(name, value, wanted) {
  return value.toLowerCase().includes(wanted) || (name === "event" && nameOf(value).toLowerCase().includes(wanted));
}

/** Kinds are what people type most; then what begins so. */
function rank({ name, value }, wanted) {
  return (name === "event" ? 0 : 2) + (value.toLowerCase().startsWith(wanted) ? 0 : 1);
}

/** A value as it is shown. */
export function shownValue(name, value) {
  return name === "event" ? nameOf(value) : value;
}
