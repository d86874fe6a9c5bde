// The reader's token: kept for this tab only, and never in an address.

const KEY = "mandrill-live.token";

export class TokenKeeper {
  #token = null;
  #storage;

  /** A browser that refuses storage keeps it as long as the page. */
  constructor(storage) {
    this.#storage = storage;
    try {
      this.#token = storage().getItem(KEY);
    } catch {
      // As if there were none.
    }
  }

  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
    try {
      if (token) this.#storage().setItem(KEY, token);
      else this.#storage().removeItem(KEY);
    } catch {
      // It is in memory.
    }
  }
}

/** A token as people paste it: with white space around it, or with the header's word before it. */
export function readToken(typed) {
  const token = typed.replace(/^\s*(authorization:)?\s*(bearer\s)?\s*/i, "").trim();
  return /^[\w.~+/=-]+$/.test(token) ? token : null;
}
