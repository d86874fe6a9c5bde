// The socket: opens it, keeps it open, and resumes by cursor so that no event is lost or doubled.
// Knows no DOM. What an event means is not its concern; what a control frame and a close code mean is.

export const PROTOCOL = "mandrill-live.v1";

/** How many stored events a new page asks for. */
export const HISTORY = 200;

/** Cursors remembered to drop what two overlapping sockets both deliver. */
export const SEEN_MAX = 20_000;

/** A socket that has not said hello by then is given up. */
export const HELLO_TIMEOUT_MS = 10_000;

/** Waits between attempts grow from the first to the second. */
export const BACKOFF_MS = { first: 500, most: 30_000 };

/** A connection that held this long makes the next loss a first one again. */
export const STEADY_MS = 10_000;

/** After this much silence the server is asked over HTTP whether it is still there. */
export const SILENCE_MS = 30_000;

/** The watch's pace. */
export const WATCH_MS = 10_000;

/** A watch this late means the machine slept, and the server has dropped the socket since. */
export const ASLEEP_MS = 150_000;

/** Closes after which the same would happen again: protocol errors, a bad request, no or not enough rights. */
const FINAL_CODES = new Set([1002, 1003, 1007, 1008, 1009, 4400, 4401, 4403]);

/** The position is of no use any more: the events after it are gone. */
const CURSOR_GONE = 4410;

/** No room: the reason names the seconds to wait. */
const NO_ROOM = 1013;

/**
 * Keeps one socket to `url` open. `on` hears
 * - `state({name})`: `connecting`, `live`, `stalled` (connected, but the server does not hear its broker; with
 *   `since`, if known), `reconnecting` (with `at`: when it is tried, in milliseconds, null while it is being
 *   tried), `stopped` (with `code` and `reason`);
 * - `event(event)`: each event once, in order;
 * - `gap(reason)`: events may be missing between those before and those after (`retention`, `epoch` or not known);
 * - `erased(recipient)`: forget this person's events;
 * - `error(text)`: the server complains.
 *
 * `probe` resolves where the server answers over HTTP and rejects where it does not.
 */
export class Connection {
  #url;
  #on;
  #probe;
  #random;
  #WebSocket;

  #link = null; // the socket whose events are taken
  #successor = null; // the one that takes over after a goaway, until it has said hello
  #timer = null; // the next attempt, or the successor's start
  #watch = null;
  #probing = false;

  #cursor = null;
  #seen = new RecentSet(SEEN_MAX);
  #attempt = 0;
  #state = { name: "stopped" };

  constructor(url, on, { probe = async () => {}, random = Math.random, WebSocket = globalThis.WebSocket } = {}) {
    this.#url = url;
    this.#on = on;
    this.#probe = probe;
    this.#random = random;
    this.#WebSocket = WebSocket;
  }

  open() {
    this.#say({ name: "connecting" });
    this.#startWatch();
    this.#connect();
  }

  close() {
    this.#stop({ name: "stopped" });
  }

  /** The reader wants it now, also where it was given up. */
  retry() {
    if (this.#state.name === "stopped") this.open();
    else this.check();
  }

  /** The network or the tab changed: find out now how things stand. */
  check() {
    if (this.#state.name === "reconnecting" && !this.#link) this.#reconnectNow();
    else if (this.#link?.ready) this.#ask();
  }

  // The socket's life.

  #connect() {
    this.#link = this.#dial();
  }

  #dial() {
    const url = new URL(this.#url);
    if (this.#cursor) url.searchParams.set("since", this.#cursor);
    else url.searchParams.set("last", HISTORY);
    return new Link(new this.#WebSocket(url.href, [PROTOCOL]), {
      ready: (link, hello) => this.#ready(link, hello),
      frame: (frame) => this.#frame(frame),
      closed: (link, code, reason) => this.#closed(link, code, reason),
    });
  }

  #ready(link, hello) {
    if (link === this.#successor) {
      this.#link?.abandon();
      this.#link = link;
      this.#successor = null;
    }
    if (hello.recovered === false) {
      this.#on.gap(hello.reason);
      this.#startAfresh();
      return;
    }
    this.#cursor ??= hello.at ?? null;
    this.#say({ name: "live" });
  }

  #closed(link, code, reason) {
    if (link === this.#successor) {
      this.#successor = null;
      return;
    }
    this.#link = null;
    this.#cancelTimer();
    // The old socket went before its successor was ready: the successor is the connection now.
    if (this.#successor) {
      this.#link = this.#successor;
      this.#successor = null;
      this.#say({ name: "reconnecting", at: null });
      return;
    }
    if (FINAL_CODES.has(code)) {
      this.#stop({ name: "stopped", code, reason });
      return;
    }
    if (code === CURSOR_GONE) {
      this.#cursor = null;
      this.#on.gap(undefined);
    }
    this.#reconnectLater(link, code === NO_ROOM ? secondsIn(reason) : 0);
  }

  /** In a moment that grows with each failure; half of it is chance, so that not everybody comes at once. */
  #reconnectLater(lost, seconds) {
    this.#attempt = lost.readyForMs() >= STEADY_MS ? 0 : this.#attempt + 1;
    const longest = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** this.#attempt);
    const wait = seconds * 1000 + longest * (0.5 + this.#random() / 2);
    this.#say({ name: "reconnecting", at: Date.now() + wait });
    this.#timer = setTimeout(() => this.#reconnectNow(), wait);
  }

  /** From the newest stored events on: the position is of no use any more. */
  #startAfresh() {
    this.#cursor = null;
    this.#reconnectNow();
  }

  #reconnectNow() {
    this.#drop();
    this.#say({ name: "reconnecting", at: null });
    this.#connect();
  }

  /** Opens the next socket while this one still delivers; which of the two is heard changes with its hello. */
  #handOver(withinMs) {
    if (this.#successor || this.#timer) return;
    const wait = Math.min(withinMs / 2, 5_000) * this.#random();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#successor = this.#dial();
    }, wait);
  }

  #drop() {
    this.#cancelTimer();
    this.#link?.abandon();
    this.#successor?.abandon();
    this.#link = this.#successor = null;
  }

  #stop(state) {
    this.#drop();
    clearInterval(this.#watch);
    this.#watch = null;
    this.#say(state);
  }

  #cancelTimer() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #say(state) {
    this.#state = state;
    this.#on.state(state);
  }

  // What the server sends.

  #frame(frame) {
    if (typeof frame._control === "string" && !("_cursor" in frame)) this.#control(frame);
    else this.#event(frame);
  }

  #event(event) {
    if (typeof event._cursor === "string") {
      if (!this.#seen.add(event._cursor)) return;
      this.#cursor = event._cursor;
    }
    this.#on.event(event);
  }

  /** Kinds that are not known here are a later version's: they change nothing. */
  #control(frame) {
    switch (frame._control) {
      case "position":
        if (typeof frame.at === "string") this.#cursor = frame.at;
        break;
      case "gap":
        this.#on.gap(frame.reason);
        break;
      case "status":
        this.#say(frame.feed === "stalled" ? { name: "stalled", since: frame.since } : { name: "live" });
        break;
      case "erased":
        this.#on.erased(frame.recipient);
        break;
      case "goaway":
        this.#handOver(Number(frame.within_ms) || 0);
        break;
      case "error":
        this.#on.error(frame.detail);
        break;
    }
  }

  // A browser hears nothing of the protocol's pings, so a dead network can look like a quiet one.

  #startWatch() {
    clearInterval(this.#watch);
    let looked = Date.now();
    this.#watch = setInterval(() => {
      const late = Date.now() - looked;
      looked = Date.now();
      if (!this.#link?.ready) return;
      if (late > ASLEEP_MS) this.#reconnectNow();
      else if (this.#link.silentForMs() > SILENCE_MS) this.#ask();
    }, WATCH_MS);
  }

  async #ask() {
    if (this.#probing) return;
    this.#probing = true;
    const link = this.#link;
    try {
      await this.#probe();
      link.heardNow();
    } catch {
      if (link === this.#link) this.#reconnectNow();
    } finally {
      this.#probing = false;
    }
  }
}

/**
 * One socket, from its opening to its end, which it reports once; nothing after it was abandoned. It is ready with
 * the server's hello: browsers themselves refuse a server that does not select the subprotocol.
 */
class Link {
  ready = false;
  #socket;
  #on;
  #timer;
  #readyAt = null;
  #heardAt = null;

  constructor(socket, on) {
    this.#socket = socket;
    this.#on = on;
    socket.onmessage = (message) => this.#heard(message.data);
    socket.onclose = ({ code, reason }) => this.#end(code, reason);
    this.#timer = setTimeout(() => this.#end(1006, ""), HELLO_TIMEOUT_MS);
  }

  readyForMs() {
    return this.#readyAt === null ? 0 : Date.now() - this.#readyAt;
  }

  silentForMs() {
    return Date.now() - this.#heardAt;
  }

  heardNow() {
    this.#heardAt = Date.now();
  }

  abandon() {
    clearTimeout(this.#timer);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #greet(hello) {
    clearTimeout(this.#timer);
    this.ready = true;
    this.#readyAt = Date.now();
    this.heardNow();
    this.#on.ready(this, hello);
  }

  #heard(data) {
    this.heardNow();
    const frame = parse(data);
    if (!frame) return;
    if (frame._control === "hello" && !("_cursor" in frame)) {
      if (!this.ready) this.#greet(frame);
    } else {
      this.#on.frame(frame);
    }
  }

  #end(code, reason) {
    this.abandon();
    this.#on.closed(this, code, reason);
  }
}

/** The newest values, up to a number of them. */
class RecentSet {
  #values = new Set();
  #max;

  constructor(max) {
    this.#max = max;
  }

  /** Whether the value is new. */
  add(value) {
    if (this.#values.has(value)) return false;
    this.#values.add(value);
    if (this.#values.size > this.#max) this.#values.delete(this.#values.values().next().value);
    return true;
  }
}

/** The object a frame holds; null where it holds none. */
function parse(data) {
  try {
    const frame = JSON.parse(data);
    return typeof frame === "object" && frame !== null && !Array.isArray(frame) ? frame : null;
  } catch {
    return null;
  }
}

function secondsIn(reason) {
  const seconds = Number(/\d+/.exec(reason)?.[0] ?? 0);
  return Math.min(seconds, 3600);
}
