// Looks after a session that says nothing. A browser hears nothing of the protocol's pings, so a dead network can look
// like a quiet one, and after a sleep of the machine the session is long gone.

/** The watch's pace. */
export const WATCH_MS = 10_000;

/**
 * After this much silence a session is asked whether it is still one, and over Server-Sent Events given up: there a
 * comment comes every 15 s.
 */
export const SILENCE_MS = 30_000;

/** A watch this late means the machine slept, and the server has dropped the session since. */
export const ASLEEP_MS = 150_000;

export class Watch {
  #on;
  #timer = null;

  /** @param on hears `slept()`, or else `look(now)` */
  constructor(on) {
    this.#on = on;
  }

  start() {
    this.stop();
    let looked = Date.now();
    this.#timer = setInterval(() => {
      const late = Date.now() - looked;
      looked = Date.now();
      if (late > ASLEEP_MS) this.#on.slept();
      else this.#on.look(looked);
    }, WATCH_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }
}
