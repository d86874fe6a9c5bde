// What is remembered of the reader's choices, in this browser. Nothing of any event, address or token is in it.

const KEY = "mandrill-live.settings";

export const DEFAULTS = Object.freeze({
  toasts: true,
  hoverPauses: true,
  singleKeys: true,
  theme: "system",
  utc: false,
  window: "1h",
  notify: [],
});

/** Settings of a kind that is not known here, or of another type, are as if they were not there. */
export function sound(stored) {
  const known = typeof stored === "object" && stored !== null ? stored : {};
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, standard]) => {
      const value = known[name];
      const fits = typeof value === typeof standard && Array.isArray(value) === Array.isArray(standard);
      return [name, fits ? value : standard];
    }),
  );
}

export class Settings {
  #values;
  #storage;
  #heard = [];

  /** Browsers may refuse storage; then settings last as long as the page. */
  constructor(storage) {
    this.#storage = storage;
    let stored = null;
    try {
      stored = JSON.parse(storage().getItem(KEY));
    } catch {
      // As if nothing were stored.
    }
    this.#values = sound(stored);
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values = { ...this.#values, [name]: value };
    try {
      this.#storage().setItem(KEY, JSON.stringify(this.#values));
    } catch {
      // Nothing to do: the page works without.
    }
    for (const hear of this.#heard) hear(name, value);
  }

  /** Calls with each setting now, and with one whenever it changes. */
  follow(hear) {
    this.#heard.push(hear);
    for (const [name, value] of Object.entries(this.#values)) hear(name, value);
  }
}
