// Moments as text, in the reader's zone or in UTC. Pure.

export class Times {
  #clock;
  #day;
  #full;
  #dates;
  #today = "";
  #todayUntil = 0;

  constructor(utc = false) {
    const timeZone = utc ? "UTC" : undefined;
    const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    this.#clock = new Intl.DateTimeFormat(undefined, { ...clock, timeZone });
    this.#day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
    this.#full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long", timeZone });
    this.#dates = new Intl.DateTimeFormat("en", { dateStyle: "short", timeZone });
  }

  /** The time of today, or the day and the time. */
  short(at, now = Date.now()) {
    if (now > this.#todayUntil) {
      this.#today = this.#dates.format(now);
      this.#todayUntil = now + 10_000;
    }
    return (this.#dates.format(at) === this.#today ? this.#clock : this.#day).format(at);
  }

  clock(at) {
    return this.#clock.format(at);
  }

  full(at) {
    return this.#full.format(at);
  }
}
