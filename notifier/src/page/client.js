/**
 * Live events of transactional mail, in a browser or in any program with `fetch` and `WebSocket`. Without dependency:
 * this file and those in `client/` are all there is; `client.d.ts` has the types. It keeps one session open and resumes
 * by cursor, so that no event is lost or doubled: over a WebSocket, or over Server-Sent Events where a proxy lets none
 * through.
 *
 *     import { connect } from "/client.js";
 *
 *     const connection = connect({
 *       filter: { event: ["hard_bounce", "spam"], tag: ["orders"] },
 *       since: localStorage.getItem("cursor"),           // everything since then; or last: 100
 *       token: () => fetch("/my-token").then((answer) => answer.text()),
 *       on: {
 *         event(event) {
 *           console.log(event.event, event.msg?.email);
 *           localStorage.setItem("cursor", connection.cursor);
 *         },
 *         state: (state) => console.log(state.name),     // "live", "reconnecting", …
 *         gap: ({ reason }) => console.warn("events are missing", reason),
 *       },
 *     });
 *     // …
 *     connection.close();
 *
 * A page on another origin has to be listed in the service's ALLOWED_ORIGINS.
 *
 * @module
 */

import { CatchUp, LOOK_MS } from "./client/catchup.js";
import { LOST, Next, nextAfter, secondsAsked, waitMs } from "./client/ending.js";
import { SocketLink, StreamLink } from "./client/links.js";
import { RecentSet } from "./client/recent.js";
import { SILENCE_MS, Watch } from "./client/watch.js";

/** Cursors remembered to drop what two overlapping sessions both deliver. */
export const SEEN_MAX = 20_000;

/** A session that held this long makes the next loss a first one again. */
export const STEADY_MS = 10_000;

/** How long the server has to say something when it is asked whether it is there, in a session or over HTTP. */
export const PROBE_TIMEOUT_MS = 5_000;

/** So many sockets in a row that fail while HTTP answers mean that something on the way lets none through. */
export const BLOCKED_SOCKETS = 2;

/** After so long over Server-Sent Events a socket is tried again. */
export const SOCKET_AGAIN_MS = 300_000;

/** @param {import("./client").Options} [options] */
export function connect(options) {
  return new Connection(options).open();
}

export class Connection {
  #base;
  #on;
  #filter;
  #last;
  #token;
  #refused = null; // the token that was not accepted
  #wishes = { filter: 0, token: 0 }; // how often each was set
  #surroundings;

  #link = null; // the session whose events are taken
  #successor = null; // the one that takes over after a goaway, until it has said hello
  #timer = null; // the next attempt, or the successor's start
  #attempt = 0; // a token that comes late belongs to an older one
  #handOvers = 0; // only the newest counts
  #looks = null;
  #watch = new Watch({ slept: () => this.#link?.ready && this.#reconnectNow(), look: (now) => this.#look(now) });

  #cursor;
  #seen = new RecentSet(SEEN_MAX);
  #catchUp = new CatchUp();
  #failures = 0;
  #transport; // "auto" or what was asked for; "sse" as well while no socket gets through
  #blocked = 0;
  #sseSince = null;
  #feed = { name: "live" };
  #state = { name: "stopped" };

  /** @param surroundings what a test puts in the place of the browser's */
  constructor({ base = new URL(".", import.meta.url), filter = {}, since, last, token, transport = "auto", on = {} } = {}, surroundings) {
    this.#surroundings = {
      random: Math.random,
      WebSocket: globalThis.WebSocket,
      fetch: globalThis.fetch.bind(globalThis),
      ...surroundings,
    };
    this.#base = new URL(base);
    this.#filter = filter;
    this.#cursor = since ?? null;
    this.#last = last;
    this.#token = token;
    this.#transport = transport === "auto" && !this.#surroundings.WebSocket ? "sse" : transport;
    this.#on = on;
  }

  get cursor() {
    return this.#cursor;
  }

  get state() {
    return this.#state;
  }

  open() {
    this.#say({ name: "connecting" });
    this.#watch.start();
    this.#connect();
    return this;
  }

  close() {
    this.#stop({ name: "stopped" });
  }

  retry() {
    if (["stopped", "unauthorized"].includes(this.#state.name)) this.open();
    else this.check();
  }

  check() {
    if (this.#state.name === "reconnecting" && !this.#link) this.#reconnectNow();
    else if (this.#link?.ready && !this.#ask()) this.#handOver(0);
  }

  setToken(token) {
    this.#token = token;
    this.#refused = null;
    this.#wishes.token += 1;
    if (this.#state.name === "unauthorized") this.open();
    else this.#fulfil();
  }

  setFilter(filter) {
    this.#filter = filter;
    this.#wishes.filter += 1;
    this.#fulfil();
  }

  /** Tells the session what was set since it was dialled or last told; where it cannot be told, another follows. */
  #fulfil() {
    const link = this.#link;
    if (!link?.ready) return; // It is told when it is ready.
    if (link.wishes.filter !== this.#wishes.filter) {
      if (!link.say({ _control: "filter", ...this.#filter })) return this.#handOver(0);
      link.wishes.filter = this.#wishes.filter;
    }
    if (link.wishes.token !== this.#wishes.token) {
      if (link.transport === "sse") return this.#handOver(0);
      link.wishes.token = this.#wishes.token;
      this.#withToken((token, wish) => {
        if (wish === this.#wishes.token && !link.say({ _control: "token", token })) this.#handOver(0);
      });
    }
  }

  #isAsWished({ wishes }) {
    return wishes.filter === this.#wishes.filter && wishes.token === this.#wishes.token;
  }

  // A session's life.

  #connect() {
    this.#withToken((token, wish) => (this.#link = this.#dial(this.#transport, token, wish)));
  }

  /** At once, but where a function has to say the token first; and not where something else happened meanwhile. */
  #withToken(use) {
    const wish = this.#wishes.token;
    if (typeof this.#token !== "function") return use(this.#token, wish);
    const attempt = this.#attempt;
    // Without a token the server says what is the matter.
    const token = Promise.resolve().then(this.#token).catch(() => null);
    token.then((token) => attempt === this.#attempt && use(token, wish));
  }

  #dial(transport, token, wish) {
    const on = {
      ready: (link, hello) => this.#ready(link, hello),
      frame: (frame, text) => this.#frame(frame, text),
      closed: (link, code, reason) => this.#closed(link, token, code, reason),
    };
    const { WebSocket, fetch } = this.#surroundings;
    const link = transport === "sse"
      ? new StreamLink(this.#address("api/events/stream"), token, on, fetch)
      : new SocketLink(this.#address("ws/email/"), token, on, WebSocket);
    link.wishes = { filter: this.#wishes.filter, token: wish };
    return link;
  }

  #address(path) {
    const url = new URL(path, this.#base);
    for (const [name, values] of Object.entries(this.#filter)) {
      // Commas stand between values, but for those behind a backslash.
      for (const value of [values].flat()) url.searchParams.append(name, String(value).replaceAll(",", "\\,"));
    }
    if (this.#cursor) url.searchParams.set("since", this.#cursor);
    else if (this.#last) url.searchParams.set("last", this.#last);
    return url.href;
  }

  #ready(link, hello) {
    if (link === this.#successor) {
      this.#link?.abandon();
      this.#link = link;
      this.#successor = null;
    }
    this.#refused = null;
    if (link.transport === "websocket") this.#socketsGetThrough();
    if (hello.recovered === false) {
      this.#on.gap?.({ reason: hello.reason });
      if (this.#last) return this.#startAfresh();
    }
    if (hello.recovered === true) this.#catchUp.begin();
    this.#cursor ??= hello.at ?? null;
    this.#feed = { name: "live" };
    this.#sayHowItStands();
    this.#fulfil();
  }

  #closed(link, token, code, reason) {
    if (link === this.#successor) {
      this.#successor = null;
      // The old session goes on, unless it is not what is wanted any more.
      if (this.#isAsWished(this.#link)) return;
      this.#link.abandon();
    }
    this.#link = null;
    this.#cancelTimer();
    // The old session went before its successor was ready: the successor is the connection now.
    if (this.#successor) {
      this.#link = this.#successor;
      this.#successor = null;
      this.#say({ name: "reconnecting", at: null });
      return;
    }
    if (!link.ready && code === LOST) this.#suspectTheWay(link.transport);
    switch (nextAfter(code)) {
      case Next.STOP:
        return this.#stop({ name: "stopped", code, reason });
      case Next.TOKEN:
        return this.#needsToken(link, token, reason);
      case Next.AFRESH:
        this.#cursor = null;
        this.#on.gap?.({});
    }
    this.#reconnectLater(link, secondsAsked(code, reason));
  }

  /** Another may be at hand, or a function may have a newer one; the same again would be refused again. */
  #needsToken(link, token, reason) {
    const another = link.wishes.token !== this.#wishes.token;
    const again = another || (typeof this.#token === "function" && token && token !== this.#refused);
    this.#refused = token ?? null;
    if (again) this.#reconnectNow();
    else this.#stop({ name: "unauthorized", reason });
  }

  #reconnectLater(lost, seconds) {
    this.#failures = lost.readyForMs() >= STEADY_MS ? 0 : this.#failures + 1;
    const wait = waitMs(this.#failures, this.#surroundings.random(), seconds);
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

  /** Opens the next session while this one still delivers; which of the two is heard changes with its hello. */
  #handOver(withinMs, transport = this.#transport) {
    if (this.#successor || this.#timer) return;
    const wait = Math.min(withinMs / 2, 5_000) * this.#surroundings.random();
    const handOver = (this.#handOvers += 1);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#withToken((token, wish) => {
        if (handOver === this.#handOvers && this.#link) this.#successor = this.#dial(transport, token, wish);
      });
    }, wait);
  }

  #drop() {
    this.#cancelTimer();
    this.#attempt += 1;
    this.#link?.abandon();
    this.#successor?.abandon();
    this.#link = this.#successor = null;
  }

  #stop(state) {
    this.#drop();
    this.#watch.stop();
    clearInterval(this.#looks);
    this.#say(state);
  }

  #cancelTimer() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #say(state) {
    this.#state = state;
    this.#on.state?.(state);
  }

  /** There is a session: what it is worth. */
  #sayHowItStands() {
    const { count } = this.#catchUp;
    const how = this.#feed.name === "live" && count !== null ? { name: "catching-up", count } : this.#feed;
    this.#say({ ...how, transport: this.#link?.transport });
  }

  // What the server sends.

  #frame(frame, text) {
    if (typeof frame._control === "string" && !("_cursor" in frame)) this.#control(frame);
    else this.#event(frame, text);
  }

  #event(event, text) {
    if (typeof event._cursor === "string") {
      if (!this.#seen.add(event._cursor)) return;
      this.#cursor = event._cursor;
    }
    const wasBehind = this.#catchUp.count !== null;
    this.#catchUp.event(event._received, Date.now());
    if (!wasBehind && this.#catchUp.count !== null) this.#followCatchUp();
    this.#on.event?.(event, text);
  }

  #followCatchUp() {
    this.#sayHowItStands();
    clearInterval(this.#looks);
    this.#looks = setInterval(() => {
      if (!this.#catchUp.look()) clearInterval(this.#looks);
      if (this.#link?.ready) this.#sayHowItStands();
    }, LOOK_MS);
  }

  /** Kinds that are not known here are a later version's: they change nothing. */
  #control(frame) {
    switch (frame._control) {
      case "position":
        if (typeof frame.at === "string") this.#cursor = frame.at;
        break;
      case "gap":
        this.#on.gap?.(frame);
        break;
      case "status":
        this.#feed = frame.feed === "stalled" ? { name: "stalled", since: frame.since } : { name: "live" };
        this.#sayHowItStands();
        break;
      case "erased":
        this.#on.erased?.(frame.recipient);
        break;
      case "goaway":
        this.#handOver(Number(frame.within_ms) || 0);
        break;
      case "token":
        this.#on.token?.(frame.expires_at);
        break;
      case "error":
        this.#on.error?.(String(frame.detail ?? "no detail"));
        break;
    }
  }

  // Whether the server and the way to it are there.

  #look(now) {
    if (!this.#link?.ready) return;
    if (this.#link.silentForMs() > SILENCE_MS) {
      if (!this.#ask()) this.#reconnectNow();
    } else if (this.#sseSince && now - this.#sseSince > SOCKET_AGAIN_MS) {
      this.#sseSince = now;
      this.#handOver(0, "websocket");
    }
  }

  /**
   * Asks in the session itself, which ends where no answer comes: that HTTP answers would say nothing of it. The filter
   * it has is what can be said without changing anything. False where it cannot be asked.
   */
  #ask() {
    const asked = this.#link.say({ _control: "filter", ...this.#filter });
    if (asked) this.#link.expect(PROBE_TIMEOUT_MS);
    return asked;
  }

  /** Resolves where the server answers over HTTP. */
  async #probe() {
    const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    const answer = await this.#surroundings.fetch(new URL("client.js", this.#base), { method: "HEAD", cache: "no-store", signal });
    if (!answer.ok) throw new Error(`HTTP answers ${answer.status}`);
  }

  /** A session was lost before it began. Sockets that fail while HTTP answers are what does not get through. */
  async #suspectTheWay(transport) {
    if (transport === "sse") {
      if (this.#sseSince) this.#socketsGetThrough(); // It was not the sockets after all.
      return;
    }
    if (this.#transport !== "auto") return;
    const answers = await this.#probe().then(() => true, () => false);
    this.#blocked = answers ? this.#blocked + 1 : 0;
    if (this.#blocked >= BLOCKED_SOCKETS && this.#transport === "auto") {
      this.#transport = "sse";
      this.#sseSince = Date.now();
    }
  }

  #socketsGetThrough() {
    this.#blocked = 0;
    if (!this.#sseSince) return;
    this.#sseSince = null;
    this.#transport = "auto";
  }
}
