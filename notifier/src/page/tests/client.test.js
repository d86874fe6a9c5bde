import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";

import { BLOCKED_SOCKETS, PROBE_TIMEOUT_MS, SOCKET_AGAIN_MS, STEADY_MS, Connection } from "../client.js";
import { BEHIND_MS, LOOK_MS } from "../client/catchup.js";
import { BACKOFF_MS } from "../client/ending.js";
import { HELLO_TIMEOUT_MS, PROTOCOL } from "../client/links.js";
import { ASLEEP_MS, SILENCE_MS, WATCH_MS } from "../client/watch.js";

const LAST = 200;
const BASE = "http://localhost:8000/";

let sockets, streams, heard, connection, serverIsThere;

/** A WebSocket whose server is the test. */
class FakeSocket {
  closed = false;
  said = [];

  constructor(url, protocols) {
    this.url = new URL(url);
    this.query = this.url.search;
    this.offered = protocols;
    sockets.push(this);
  }

  send(text) {
    this.said.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  // What the server does:

  hello(fields = {}) {
    return this.sends({ _control: "hello", version: 1, at: "start", recovered: null, ...fields });
  }

  sends(...frames) {
    for (const frame of frames) this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    return this;
  }

  end(code, reason = "") {
    this.onclose?.({ code, reason });
  }
}

/** HTTP whose server is the test: it answers probes, and keeps streams open. */
async function fakeFetch(url, { method = "GET", headers, signal }) {
  if (method === "HEAD") {
    assert.ok(serverIsThere);
    return { ok: true };
  }
  const stream = { url: new URL(url), headers, signal };
  const body = new ReadableStream({ start: (controller) => (stream.controller = controller) });
  streams.push(stream);
  stream.sends = (...frames) => {
    const text = frames.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join("");
    stream.controller.enqueue(new TextEncoder().encode(text));
  };
  stream.comment = () => stream.controller.enqueue(new TextEncoder().encode(":\n\n"));
  stream.hello = (fields = {}) => stream.sends({ _control: "hello", at: "start", recovered: null, ...fields });
  return stream.refusal ?? { ok: true, body };
}

const event = (cursor, received) => ({ _cursor: cursor, _received: received, event: "open" });
const newest = () => sockets.at(-1);
const state = () => heard.states.at(-1);
const pass = (ms) => mock.timers.tick(ms);
/** Everything that needs no time has happened. */
const settled = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

function open(options = {}) {
  connection?.close();
  sockets = [];
  streams = [];
  heard = { states: [], events: [], gaps: [], erased: [], errors: [], tokens: [] };
  const on = {
    state: (state) => heard.states.push(state),
    event: (event) => heard.events.push(event._cursor),
    gap: ({ reason }) => heard.gaps.push(reason),
    erased: (recipient) => heard.erased.push(recipient),
    error: (text) => heard.errors.push(text),
    token: (expiresAt) => heard.tokens.push(expiresAt),
  };
  const surroundings = { WebSocket: FakeSocket, random: () => 1, fetch: fakeFetch };
  connection = new Connection({ base: BASE, last: LAST, on, ...options }, surroundings).open();
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  serverIsThere = true;
  open();
});

afterEach(() => {
  connection.close();
  mock.timers.reset();
});

describe("a connection", () => {
  it("asks for the newest stored events and is live once the server said hello", () => {
    assert.deepEqual(newest().offered, [PROTOCOL]);
    assert.equal(newest().query, `?last=${LAST}`);
    assert.equal(state().name, "connecting");
    newest().hello();
    assert.equal(state().name, "live");
  });

  it("says when the server does not hear its broker, and when it does again", () => {
    newest().hello().sends({ _control: "status", feed: "stalled", since: 5 });
    assert.deepEqual(state(), { name: "stalled", since: 5, transport: "websocket" });
    newest().sends({ _control: "status", feed: "live" });
    assert.deepEqual(state(), { name: "live", transport: "websocket" });
  });

  it("goes on where it meets what it does not know", () => {
    newest().hello().sends("not JSON", "[1]", "null", { _control: "news", at: "x" }, event("a"));
    assert.deepEqual(heard.events, ["a"]);
  });

  it("takes what has a cursor for an event, whatever else it has", () => {
    newest().hello().sends({ _cursor: "a", _control: "goaway" }, { _cursor: "b", _control: "hello" });
    assert.deepEqual(heard.events, ["a", "b"]);
  });

  it("passes on gaps, erasures and complaints", () => {
    newest().hello().sends(
      { _control: "gap", after: "a", before: "f", reason: "retention" },
      { _control: "erased", recipient: "0123456789abcdef" },
      { _control: "error", detail: "no such filter" },
    );
    assert.deepEqual([heard.gaps, heard.erased, heard.errors], [["retention"], ["0123456789abcdef"], ["no such filter"]]);
  });
});

describe("a lost connection", () => {
  const lose = (code, reason) => {
    newest().end(code, reason);
    return sockets.length;
  };

  it("resumes after the last event, without doubling one", () => {
    newest().hello().sends(event("a"), event("b"));
    lose(1006);
    assert.equal(state().name, "reconnecting");
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?since=b");
    newest().hello({ recovered: true }).sends(event("b"), event("c"));
    assert.deepEqual(heard.events, ["a", "b", "c"]);
  });

  it("resumes where nothing came, and after a position", () => {
    newest().hello({ at: "a" });
    lose(1001);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?since=a");
    newest().hello({ recovered: true }).sends({ _control: "position", at: "p" });
    lose(4408);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?since=p");
  });

  it("waits longer from attempt to attempt, up to a limit, and says until when", () => {
    const waits = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      lose(1006);
      waits.push(state().at - Date.now());
      pass(waits.at(-1));
    }
    assert.deepEqual(waits.slice(0, 3), [1_000, 2_000, 4_000]);
    assert.equal(waits.at(-1), BACKOFF_MS.most);
  });

  it("starts with a short wait again after it had held", () => {
    for (let attempt = 0; attempt < 5; attempt++) {
      lose(1006);
      pass(BACKOFF_MS.most);
    }
    newest().hello();
    pass(STEADY_MS);
    lose(1001);
    assert.equal(state().at - Date.now(), BACKOFF_MS.first);
  });

  it("waits as long as a full server asks", () => {
    lose(1013, "no room: connect again after 20 s");
    assert.ok(state().at - Date.now() >= 20_000);
  });

  it("is given up where the same would happen again", () => {
    for (const code of [1002, 1003, 1007, 1008, 1009, 4400, 4403]) {
      const count = lose(code, "because");
      assert.deepEqual(state(), { name: "stopped", code, reason: "because" });
      connection.check();
      pass(600_000);
      assert.equal(sockets.length, count, `${code}`);
      connection.retry();
      assert.equal(state().name, "connecting");
    }
  });

  it("begins afresh and says so where the events after its cursor are gone", () => {
    newest().hello().sends(event("a"));
    lose(4410);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, `?last=${LAST}`);
    assert.deepEqual(heard.gaps, [undefined]);
  });

  it("loads the newest events, not all that are kept, where the server could not resume", () => {
    newest().hello().sends(event("a"), event("b"));
    lose(1006);
    pass(BACKOFF_MS.most);
    const unrecovered = newest().hello({ recovered: false, reason: "retention", at: "z" });
    assert.ok(unrecovered.closed);
    assert.equal(newest().query, `?last=${LAST}`);
    newest().hello({ at: "y" }).sends(event("b"), event("c"));
    assert.deepEqual(heard.gaps, ["retention"]);
    assert.deepEqual(heard.events, ["a", "b", "c"]);
  });

  it("is tried at once when asked", () => {
    const count = lose(1006);
    connection.check();
    assert.equal(sockets.length, count + 1);
    pass(BACKOFF_MS.first * 2);
    assert.equal(sockets.length, count + 1);
  });

  it("is noticed where a server never says hello", () => {
    pass(HELLO_TIMEOUT_MS);
    assert.equal(state().name, "reconnecting");
    assert.ok(newest().closed);
  });
});

describe("a goaway", () => {
  it("opens the next socket first, closes the old one after, and doubles nothing", () => {
    const old = newest().hello().sends(event("a"), { _control: "goaway", reason: "drain", within_ms: 1_000 });
    pass(1_000);
    const next = newest();
    assert.notEqual(next, old);
    assert.equal(next.query, "?since=a");
    assert.ok(!old.closed);

    old.sends(event("b"));
    next.hello({ recovered: true });
    assert.ok(old.closed);
    old.sends(event("c"));
    next.sends(event("b"), event("c"));
    assert.deepEqual(heard.events, ["a", "b", "c"]);
    assert.ok(heard.states.slice(1).every((state) => state.name === "live"));
  });

  it("is one lost connection where the old socket closes before the next is ready", () => {
    const old = newest().hello().sends({ _control: "goaway", within_ms: 0 });
    pass(0);
    old.end(1001);
    assert.equal(state().name, "reconnecting");
    newest().hello({ recovered: true });
    assert.equal(state().name, "live");
    pass(BACKOFF_MS.most);
    assert.equal(sockets.length, 2);
  });

  it("is one lost connection where the next socket fails", () => {
    const old = newest().hello().sends({ _control: "goaway", within_ms: 0 });
    pass(0);
    newest().end(1006);
    assert.equal(state().name, "live");
    old.end(1001);
    pass(BACKOFF_MS.most);
    assert.equal(sockets.length, 3);
  });
});

describe("a silent connection", () => {
  const filter = { tag: ["orders"] };
  const asked = [{ _control: "filter", ...filter }];

  it("is asked in the session itself, and stays where it answers", () => {
    open({ filter });
    newest().hello();
    let answered = 0;
    for (let second = 0; second < 4 * (SILENCE_MS + WATCH_MS) / 1_000; second++) {
      pass(1_000);
      if (newest().said.length === answered) continue;
      newest().sends({ _control: "filter", at: "a" });
      answered += 1;
    }
    assert.deepEqual(newest().said, Array(4).fill(asked[0]));
    assert.equal(sockets.length, 1);
    assert.equal(state().name, "live");
  });

  it("is replaced where it does not, though HTTP answers", async () => {
    newest().hello({ at: "a" });
    pass(SILENCE_MS + WATCH_MS);
    await settled();
    assert.equal(state().name, "live");
    pass(PROBE_TIMEOUT_MS);
    assert.equal(state().name, "reconnecting");
    assert.ok(newest().closed);
    pass(BACKOFF_MS.first);
    assert.equal(newest().query, "?since=a");
  });

  it("is asked when the network or the tab changed, and has no longer to answer for being asked again", () => {
    open({ filter });
    newest().hello();
    connection.check();
    pass(1);
    connection.check();
    assert.deepEqual(newest().said, [...asked, ...asked]);
    pass(PROBE_TIMEOUT_MS - 1);
    assert.equal(state().name, "reconnecting");
  });

  it("is replaced at once where the question would be longer than the server takes", () => {
    open({ filter: { tag: Array.from({ length: 600 }, (_, at) => `tag-${at}`) } });
    const old = newest().hello();
    connection.check();
    pass(0);
    assert.deepEqual([old.said, sockets.length, old.closed], [[], 2, false]);
    newest().hello({ recovered: true });
    assert.ok(old.closed);
  });

  it("over Server-Sent Events is replaced where not even comments come, though HTTP answers", async () => {
    open({ transport: "sse" });
    await settled();
    streams[0].hello();
    await settled();
    for (let comment = 0; comment < 9; comment++) {
      pass(15_000);
      streams[0].comment();
      await settled();
    }
    assert.equal(streams.length, 1);
    pass(SILENCE_MS + WATCH_MS);
    await settled();
    assert.equal(streams.length, 2);
    assert.ok(streams[0].signal.aborted);
  });

  it("over Server-Sent Events is followed by another when the network or the tab changed", async () => {
    open({ transport: "sse" });
    await settled();
    streams[0].hello();
    await settled();
    connection.check();
    pass(0);
    await settled();
    assert.deepEqual([streams.length, streams[0].signal.aborted], [2, false]);
    streams[1].hello({ recovered: true });
    await settled();
    assert.deepEqual([state().name, streams[0].signal.aborted], ["live", true]);
  });

  it("is replaced after the machine slept", () => {
    newest().hello();
    mock.timers.setTime(Date.now() + ASLEEP_MS + WATCH_MS);
    pass(WATCH_MS);
    assert.equal(sockets.length, 2);
  });
});

describe("a filter", () => {
  it("is asked for in the query, each value by itself", () => {
    open({ filter: { event: ["open", "click"], email: "a@example.com" } });
    assert.equal(newest().query, `?event=open&event=click&email=a%40example.com&last=${LAST}`);
  });

  it("changes on the running session, and holds for the next", () => {
    newest().hello();
    connection.setFilter({ tag: ["orders"] });
    assert.deepEqual(newest().said, [{ _control: "filter", tag: ["orders"] }]);
    newest().sends(event("a")).end(1001);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?tag=orders&since=a");
  });
});

describe("what is set while a session is on its way", () => {
  const filter = { _control: "filter", tag: ["new"] };

  it("is said to it as soon as it is there", () => {
    open({ filter: { tag: ["old"] }, token: "old" });
    connection.setFilter({ tag: ["new"] });
    connection.setToken("new");
    assert.deepEqual(newest().said, []);
    newest().hello();
    assert.deepEqual(newest().said, [filter, { _control: "token", token: "new" }]);
  });

  it("is said to both where one takes over from the other", () => {
    const old = newest().hello().sends({ _control: "goaway", within_ms: 0 });
    pass(0);
    connection.setFilter({ tag: ["new"] });
    newest().hello({ recovered: true });
    assert.deepEqual([old.said, newest().said, sockets.length], [[filter], [filter], 2]);
  });

  it("needs one stream more where one takes over from the other", async () => {
    open({ transport: "sse" });
    await settled();
    streams[0].hello();
    streams[0].sends({ _control: "goaway", within_ms: 0 });
    await settled();
    pass(0);
    connection.setFilter({ tag: ["new"] });
    streams[1].hello({ recovered: true });
    await settled();
    pass(0);
    assert.deepEqual(streams.map(({ url }) => url.searchParams.get("tag")), [null, null, "new"]);
    streams[2].hello({ recovered: true });
    await settled();
    assert.deepEqual(streams.map(({ signal }) => signal.aborted), [true, true, false]);
  });

  it("is tried again where the stream that was to follow is lost", async () => {
    open({ transport: "sse" });
    await settled();
    streams[0].hello({ at: "a" });
    await settled();
    connection.setFilter({ tag: ["new"] });
    pass(0);
    await settled();
    streams[1].controller.close();
    await settled();
    assert.equal(state().name, "reconnecting");
    assert.ok(streams[0].signal.aborted);
    pass(BACKOFF_MS.most);
    assert.equal(streams[2].url.search, "?tag=new&since=a");
  });

  it("is taken where the token before it is refused", () => {
    open({ token: "old" });
    connection.setToken("new");
    newest().end(4401, "expired");
    assert.deepEqual(newest().offered, [PROTOCOL, "bearer.new"]);
    newest().end(4401, "not valid");
    assert.equal(state().name, "unauthorized");
    assert.equal(sockets.length, 2);
  });

  it("is not followed by two sessions where a token takes its time", async () => {
    open({ token: async () => "token" });
    await settled();
    const old = newest().hello();
    for (let goaway = 0; goaway < 2; goaway++) {
      old.sends({ _control: "goaway", within_ms: 0 });
      pass(0);
    }
    await settled();
    assert.equal(sockets.length, 2);
    newest().hello({ recovered: true });
    assert.ok(old.closed);
  });
});

describe("a cursor of one's own", () => {
  it("is where the connection begins", () => {
    open({ since: "mine" });
    assert.equal(newest().query, "?since=mine");
  });

  it("that cannot be served leads to the oldest event that is kept, and says so", () => {
    open({ since: "mine", last: undefined });
    newest().hello({ recovered: false, reason: "retention" }).sends(event("a"));
    assert.deepEqual([heard.gaps, heard.events, sockets.length], [["retention"], ["a"], 1]);
  });
});

describe("a token", () => {
  it("is offered beside the protocol", () => {
    open({ token: "a.b.c" });
    assert.deepEqual(newest().offered, [PROTOCOL, "bearer.a.b.c"]);
  });

  it("that is missing or refused is asked for, and nothing is tried before there is another", () => {
    newest().end(4401, "a token is missing");
    assert.deepEqual(state(), { name: "unauthorized", reason: "a token is missing" });
    connection.check();
    pass(600_000);
    assert.equal(sockets.length, 1);
    connection.setToken("new");
    assert.deepEqual(newest().offered, [PROTOCOL, "bearer.new"]);
    newest().hello();
    assert.equal(state().name, "live");
  });

  it("that no server could take never leaves the page", async () => {
    open({ token: "what is this" });
    await settled();
    assert.equal(sockets.length, 0);
    assert.equal(state().name, "unauthorized");
  });

  it("that ends is replaced by a newer one of the function that gave it, from the last cursor", async () => {
    let current = "first";
    open({ token: async () => current });
    await settled();
    newest().hello().sends(event("a"));
    current = "second";
    newest().end(4401, "expired");
    await settled();
    assert.deepEqual(newest().offered, [PROTOCOL, "bearer.second"]);
    assert.equal(newest().query, "?since=a");
    newest().end(4401, "not valid");
    await settled();
    newest().end(4401, "not valid");
    await settled();
    assert.equal(state().name, "unauthorized");
  });

  it("is renewed on the running session", () => {
    open({ token: "old" });
    newest().hello();
    connection.setToken("new");
    assert.deepEqual(newest().said, [{ _control: "token", token: "new" }]);
    newest().sends({ _control: "token", expires_at: 7 });
    assert.deepEqual([heard.tokens, sockets.length], [[7], 1]);
  });
});

describe("a session that was away", () => {
  const now = () => Date.now();

  it("catches up, counts, and is live once its events get no younger", () => {
    newest().hello().sends(event("a", now() - 40));
    newest().end(1006);
    pass(60_000);
    newest().hello({ recovered: true }).sends(event("b", now() - 50_000), event("c", now() - 40_000));
    assert.equal(state().name, "catching-up");
    pass(LOOK_MS);
    assert.deepEqual(state(), { name: "catching-up", count: 2, transport: "websocket" });
    newest().sends(event("d", now() - 20_000));
    pass(LOOK_MS);
    assert.equal(state().count, 3);
    pass(LOOK_MS);
    assert.equal(state().name, "live");
  });

  it("is live at once where it missed nothing, however wrong the clocks are", () => {
    const ahead = 3_600_000;
    newest().hello().sends(event("a", now() - ahead));
    newest().end(1006);
    pass(BACKOFF_MS.most);
    newest().hello({ recovered: true }).sends(event("b", now() - ahead - BEHIND_MS));
    assert.equal(state().name, "live");
  });
});

describe("where no WebSocket gets through", () => {
  const block = async () => {
    for (let socket = 0; socket < BLOCKED_SOCKETS; socket++) {
      newest().end(1006);
      await settled();
      pass(BACKOFF_MS.most);
    }
    await settled();
  };

  it("goes on over Server-Sent Events, with the token and the filter, and says so", async () => {
    open({ token: "t", filter: { tag: "x" } });
    await block();
    assert.equal(streams[0].url.href, `${BASE}api/events/stream?tag=x&last=${LAST}`);
    assert.equal(streams[0].headers.Authorization, "Bearer t");
    streams[0].hello();
    streams[0].sends(event("a"), event("b"));
    await settled();
    assert.deepEqual(state(), { name: "live", transport: "sse" });
    assert.deepEqual(heard.events, ["a", "b"]);
  });

  it("resumes by cursor when the stream ends, and moves on a goaway without doubling an event", async () => {
    await block();
    streams[0].hello();
    streams[0].sends(event("a"));
    await settled();
    streams[0].controller.close();
    await settled();
    assert.equal(state().name, "reconnecting");
    pass(BACKOFF_MS.most);
    await settled();
    assert.equal(streams[1].url.search, "?since=a");
    streams[1].hello({ recovered: true });
    streams[1].sends({ _control: "goaway", within_ms: 0 });
    await settled();
    pass(0);
    await settled();
    streams[1].sends(event("b"));
    await settled();
    streams[2].hello({ recovered: true });
    streams[2].sends(event("b"), event("c"));
    await settled();
    assert.deepEqual(heard.events, ["a", "b", "c"]);
    assert.ok(streams[1].signal.aborted);
  });

  it("tries a socket again after a while, and stays where it is until that says hello", async () => {
    await block();
    streams[0].hello();
    await settled();
    const before = sockets.length;
    for (let watched = 0; sockets.length === before; watched += WATCH_MS) {
      assert.ok(watched <= SOCKET_AGAIN_MS + 2 * WATCH_MS);
      streams[0].sends({ _control: "position", at: "p" });
      await settled();
      pass(WATCH_MS);
      pass(0);
    }
    assert.equal(newest().query, "?since=p");
    assert.equal(state().transport, "sse");
    newest().hello({ recovered: true });
    assert.equal(state().transport, "websocket");
    assert.ok(streams[0].signal.aborted);
  });

  it("is not suspected where the server is away altogether", async () => {
    serverIsThere = false;
    await block();
    await block();
    assert.equal(streams.length, 0);
  });
});

describe("a stream that is refused", () => {
  const refuse = async (status, headers = {}, detail = "why") => {
    const refusing = async () => ({ ok: false, status, headers: new Headers(headers), json: async () => ({ detail }) });
    connection.close();
    const on = { state: (state) => heard.states.push(state) };
    connection = new Connection({ base: BASE, transport: "sse", on }, { fetch: refusing, random: () => 1 }).open();
    await settled();
  };

  it("asks for a token, waits as long as it is told, or stops, as a socket does", async () => {
    await refuse(401);
    assert.deepEqual(state(), { name: "unauthorized", reason: "why" });
    await refuse(503, { "Retry-After": "20" });
    assert.ok(state().at - Date.now() >= 20_000);
    await refuse(400);
    assert.deepEqual(state(), { name: "stopped", code: 4400, reason: "why" });
    await refuse(502);
    assert.equal(state().name, "reconnecting");
  });
});
