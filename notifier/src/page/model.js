// What an event looks like in a row, and the rows kept in memory. Pure: no DOM, no socket, no clock.
// This module alone reads Mandrill's format on the page; everything it reads may be absent or of another type.

/** Rows kept in memory; the oldest go first. */
export const ROWS_MAX = 20_000;

/** Longest text kept of one field, in characters. No real address or subject line is cut. */
export const TEXT_MAX = 1_000;

/** What is shown where an event has no such field. */
export const ABSENT = "—";

/** The kinds that a person has to do something about. */
export const ALARMING = new Set(["hard_bounce", "reject", "spam"]);

/** The kinds that each counter of the page counts. */
const COUNTERS = {
  sent: ["send"],
  delivered: ["delivered"],
  opened: ["open"],
  clicked: ["click"],
  deferred: ["deferral"],
  bounced: ["hard_bounce", "soft_bounce"],
  rejected: ["reject"],
  spam: ["spam"],
  unsubscribed: ["unsub"],
};
const COUNTER_OF = new Map(Object.entries(COUNTERS).flatMap(([name, kinds]) => kinds.map((kind) => [kind, name])));

/** The row of one event, as the socket delivered it. Absent fields are null. */
export function rowOf(event) {
  const msg = object(event.msg);
  return {
    cursor: text(event._cursor),
    kind: text(event.event) ?? syncKind(event),
    state: text(msg.state),
    email: text(msg.email) ?? text(object(event.reject).email) ?? text(object(event.entry).email),
    subject: text(msg.subject),
    id: text(event._id) ?? text(msg._id),
    receivedAt: time(event._received),
    happenedAt: time(event.ts, 1000),
  };
}

/** A row that is no event: something the reader must know about the rows above and below it. */
export function noticeOf(notice) {
  return { notice };
}

/** Sync events (changes of the reject and allow lists) have no `event`: their type and action name them. */
function syncKind(event) {
  const type = text(event.type);
  return type && ["sync", type, text(event.action)].filter(Boolean).join("_");
}

function object(value) {
  return typeof value === "object" && value !== null ? value : {};
}

function text(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value !== "string" || value.trim() === "") return null;
  return value.length <= TEXT_MAX ? value : clipped(value);
}

/** A slice keeps the whole string alive behind it, so the cut text is copied. */
function clipped(value) {
  return JSON.parse(JSON.stringify(value.slice(0, TEXT_MAX - 1) + "…"));
}

/** Milliseconds since 1970, where `value` counts in `unit` milliseconds and is a moment a Date can hold. */
function time(value, unit = 1) {
  const at = typeof value === "number" ? value * unit : NaN;
  return Math.abs(at) <= 8.64e15 ? at : null;
}

/**
 * The newest rows, oldest first. A row's index counts every row ever added, so that a view can ask for
 * all since the last it has; when rows went for another reason than age, `generation` changes and so did indices.
 */
export class RowList {
  generation = 0;
  #rows = [];
  #start = 0;
  #max;

  constructor(max = ROWS_MAX) {
    this.#max = max;
  }

  /** The index of the oldest row kept. */
  get start() {
    return Math.max(this.#start, this.end - this.#max);
  }

  /** The index the next row will have. */
  get end() {
    return this.#start + this.#rows.length;
  }

  get size() {
    return this.end - this.start;
  }

  add(row) {
    this.#rows.push(row);
    // Rows leave in lots: moving all of them for each one would cost more than the few kept too long.
    const lot = Math.max(1, this.#max >> 4);
    if (this.#rows.length >= this.#max + lot) {
      this.#start += this.#rows.length - this.#max;
      this.#rows.splice(0, this.#rows.length - this.#max);
    }
  }

  /** The rows from `index` on, at most the newest `most` of them. */
  since(index, most = Infinity) {
    const from = Math.max(index, this.start, this.end - most);
    return this.#rows.slice(from - this.#start);
  }

  /** Drops the rows for which `unwanted` holds. */
  remove(unwanted) {
    const kept = this.#rows.filter((row) => !unwanted(row));
    if (kept.length === this.#rows.length) return;
    this.#rows = kept;
    this.generation += 1;
  }
}

/** How many events were seen, and how many of each counter's kinds. */
export class Tally {
  seen = 0;
  counts = Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, 0]));

  add(row) {
    this.seen += 1;
    const counter = COUNTER_OF.get(row.kind);
    if (counter) this.counts[counter] += 1;
  }
}

/** Events a second over the last ten seconds. Times are in milliseconds. */
export class Rate {
  #counts = new Map(); // events by second, oldest first

  add(now) {
    const second = Math.floor(now / 1000);
    this.#counts.set(second, (this.#counts.get(second) ?? 0) + 1);
    this.#forget(second - RATE_SECONDS);
  }

  perSecond(now) {
    this.#forget(Math.floor(now / 1000) - RATE_SECONDS);
    let events = 0;
    for (const count of this.#counts.values()) events += count;
    return events / RATE_SECONDS;
  }

  #forget(until) {
    for (const second of this.#counts.keys()) {
      if (second > until) break;
      this.#counts.delete(second);
    }
  }
}

const RATE_SECONDS = 10;

/**
 * The rows that belong to a recipient, named as the server names people: the first sixteen hex digits of
 * SHA-256 of the trimmed, lower-cased address. An address that was cut cannot be compared and counts as theirs.
 */
export async function rowsOfRecipient(rows, recipient, digest) {
  const addresses = [...new Set(rows.map((row) => row.email).filter(Boolean))];
  const theirs = await Promise.all(
    addresses.map(async (address) => address.length >= TEXT_MAX || (await recipientHash(address, digest)) === recipient),
  );
  const erased = new Set(addresses.filter((_, at) => theirs[at]));
  return new Set(rows.filter((row) => erased.has(row.email)));
}

async function recipientHash(address, digest) {
  const hash = new Uint8Array(await digest(new TextEncoder().encode(address.trim().toLowerCase())));
  return Array.from(hash.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
