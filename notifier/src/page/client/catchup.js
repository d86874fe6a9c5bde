// Is a resumed session still behind? The server does not say; the ages of its events do. While a session catches up,
// each event is younger than the one before; once it is live, they all have the same age, that of the way here.
// So neither clock has to be right. Pure.

/** A first event older than this, compared with live ones, is one that was missed. */
export const BEHIND_MS = 2_000;

/** Between two looks. */
export const LOOK_MS = 500;

/** Getting younger by less than this between two looks is no catching up. */
const YOUNGER_MS = 250;

export class CatchUp {
  /** Events that came while behind; null while it is not. */
  count = null;
  #liveAge = 0; // the least seen while not behind
  #resumed = false;
  #age = null;
  #ageAtLook = null;

  /** A session began where another had ended. */
  begin() {
    this.#resumed = true;
    this.count = null;
  }

  /** An event came. Times are milliseconds since 1970, of two clocks. */
  event(receivedAt, now) {
    const age = now - receivedAt;
    if (!Number.isFinite(age)) return;
    if (this.#resumed && age > this.#liveAge + BEHIND_MS) {
      this.count = 0;
      this.#ageAtLook = Infinity;
    }
    this.#resumed = false;
    this.#age = age;
    if (this.count !== null) this.count += 1;
    else if (age < this.#liveAge || this.#liveAge === 0) this.#liveAge = age;
  }

  /** Time went on by LOOK_MS: whether it is behind still. */
  look() {
    if (this.count === null) return false;
    const younger = this.#age !== null && this.#ageAtLook - this.#age > YOUNGER_MS;
    this.#ageAtLook = this.#age;
    if (!younger) this.count = null;
    return younger;
  }
}
