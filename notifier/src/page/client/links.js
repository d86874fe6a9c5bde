// One session with the server, over a WebSocket or over Server-Sent Events by fetch: from its opening to its end,
// which it reports once, and nothing after it was abandoned. Both kinds are ready with the server's hello.

import { LOST, NO_ROOM, codeOfStatus } from "./ending.js";
import { MessageReader } from "./sse.js";

export const PROTOCOL = "mandrill-live.v1";

/** A session that has not said hello by then is given up. */
export const HELLO_TIMEOUT_MS = 10_000;

/** The server takes no longer message, in bytes. */
const SAID_MAX = 4 << 10;

/** A subprotocol's name holds only these; so does every token. */
const TOKEN_TEXT = /^[\w.~!#$%&'*+^`|-]+$/;

/** What `4401` says where a text cannot be a token at all. */
const NO_TOKEN = "this text is no token";

class Link {
  ready = false;
  #on;
  #timer = null;
  #readyAt = null;
  #heardAt = null;
  #over = false;

  /** @param on hears `ready(link, hello)`, `frame(frame, text)` and `closed(link, code, reason)` */
  constructor(on) {
    this.#on = on;
    this.expect(HELLO_TIMEOUT_MS);
  }

  /** The server has so long to say hello or, after that, anything: else this is over. */
  expect(ms) {
    this.#timer ??= setTimeout(() => this.end(LOST, ""), ms);
  }

  /** How long it has held. */
  readyForMs() {
    return this.#readyAt === null ? 0 : Date.now() - this.#readyAt;
  }

  silentForMs() {
    return Date.now() - this.#heardAt;
  }

  heardNow() {
    this.#heardAt = Date.now();
    if (this.ready) this.#expectNothing();
  }

  abandon() {
    this.#over = true;
    this.#expectNothing();
    this.shut();
  }

  #expectNothing() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** A frame came. */
  heard(text) {
    if (this.#over) return;
    this.heardNow();
    const frame = parse(text);
    if (!frame) return;
    if (frame._control !== "hello" || "_cursor" in frame) return this.#on.frame(frame, text);
    if (this.ready) return;
    this.#expectNothing();
    this.ready = true;
    this.#readyAt = Date.now();
    this.#on.ready(this, frame);
  }

  end(code, reason) {
    if (this.#over) return;
    this.abandon();
    this.#on.closed(this, code, reason);
  }
}

/** Over a WebSocket. Browsers themselves refuse a server that does not select the subprotocol. */
export class SocketLink extends Link {
  transport = "websocket";
  #socket = null;

  constructor(url, token, on, WebSocket) {
    super(on);
    if (token && !TOKEN_TEXT.test(token)) {
      queueMicrotask(() => this.end(4401, NO_TOKEN));
      return;
    }
    const address = new URL(url);
    address.protocol = address.protocol.replace("http", "ws");
    this.#socket = new WebSocket(address.href, token ? [PROTOCOL, `bearer.${token}`] : [PROTOCOL]);
    this.#socket.onmessage = (message) => this.heard(message.data);
    this.#socket.onclose = ({ code, reason }) => this.end(code, reason);
  }

  /** Says something to the server. False where it would be too long. */
  say(control) {
    const text = JSON.stringify(control);
    if (new TextEncoder().encode(text).length > SAID_MAX) return false;
    this.#socket.send(text);
    return true;
  }

  shut() {
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}

/** Over Server-Sent Events, where no WebSocket gets through. */
export class StreamLink extends Link {
  transport = "sse";
  #abort = new AbortController();

  constructor(url, token, on, fetch) {
    super(on);
    this.#run(url, token, fetch).catch(() => this.end(LOST, ""));
  }

  async #run(url, token, fetch) {
    const headers = { Accept: "text/event-stream" };
    if (token && !TOKEN_TEXT.test(token)) return this.end(4401, NO_TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(url, { headers, cache: "no-store", credentials: "same-origin", signal: this.#abort.signal });
    if (!answer.ok) return this.#refused(answer);

    const reader = new MessageReader();
    const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await pieces.read(); !piece.done; piece = await pieces.read()) {
      this.heardNow();
      for (const { data } of reader.read(piece.value)) this.heard(data);
    }
    this.end(LOST, "");
  }

  async #refused(answer) {
    const code = codeOfStatus(answer.status);
    const problem = await answer.json().catch(() => null);
    const seconds = Number(answer.headers.get("Retry-After")) || 0;
    this.end(code, code === NO_ROOM ? `come again after ${seconds} s` : String(problem?.detail ?? ""));
  }

  /** This way leads from the server only. */
  say() {
    return false;
  }

  shut() {
    this.#abort.abort();
  }
}

/** The object a frame holds; null where it holds none. */
function parse(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame === "object" && frame !== null && !Array.isArray(frame) ? frame : null;
  } catch {
    return null;
  }
}
