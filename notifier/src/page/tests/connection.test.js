import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";

import { ASLEEP_MS, BACKOFF_MS, Connection, HELLO_TIMEOUT_MS, HISTORY, PROTOCOL, SILENCE_MS, STEADY_MS, WATCH_MS }
  from "../connection.js";

let sockets, heard, connection, serverIsThere;

/** A WebSocket whose server is the test. */
class FakeSocket {
  closed = false;

  constructor(url, protocols) {
    this.query = new URL(url).search;
    this.offered = protocols;
    sockets.push(this);
  }

  close() {
    this.closed = true;
  }

  // What the server does:

  hello(fields = {}) {
    return this.send({ _control: "hello", version: 1, at: "start", recovered: null, ...fields });
  }

  send(...frames) {
    for (const frame of frames) this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    return this;
  }

  end(code, reason = "") {
    this.onclose?.({ code, reason });
  }
}

const event = (cursor) => ({ _cursor: cursor, event: "open" });
const newest = () => sockets.at(-1);
const state = () => heard.states.at(-1);
const pass = (ms) => mock.timers.tick(ms);
const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  sockets = [];
  heard = { states: [], events: [], gaps: [], erased: [], errors: [] };
  serverIsThere = true;
  const on = {
    state: (state) => heard.states.push(state),
    event: (event) => heard.events.push(event._cursor),
    gap: (reason) => heard.gaps.push(reason),
    erased: (recipient) => heard.erased.push(recipient),
    error: (text) => heard.errors.push(text),
  };
  const probe = async () => assert.ok(serverIsThere);
  connection = new Connection("ws://localhost/ws/email/", on, { WebSocket: FakeSocket, random: () => 1, probe });
  connection.open();
});

afterEach(() => {
  connection.close();
  mock.timers.reset();
});

describe("a connection", () => {
  it("asks for the newest stored events and is live once the server said hello", () => {
    assert.deepEqual(newest().offered, [PROTOCOL]);
    assert.equal(newest().query, `?last=${HISTORY}`);
    assert.equal(state().name, "connecting");
    newest().hello();
    assert.equal(state().name, "live");
  });

  it("says when the server does not hear its broker, and when it does again", () => {
    newest().hello().send({ _control: "status", feed: "stalled", since: 5 });
    assert.deepEqual(state(), { name: "stalled", since: 5 });
    newest().send({ _control: "status", feed: "live" });
    assert.deepEqual(state(), { name: "live" });
  });

  it("goes on where it meets what it does not know", () => {
    newest().hello().send("not JSON", "[1]", "null", { _control: "news", at: "x" }, event("a"));
    assert.deepEqual(heard.events, ["a"]);
  });

  it("takes what has a cursor for an event, whatever else it has", () => {
    newest().hello().send({ _cursor: "a", _control: "goaway" }, { _cursor: "b", _control: "hello" });
    assert.deepEqual(heard.events, ["a", "b"]);
  });

  it("passes on gaps, erasures and complaints", () => {
    newest().hello().send(
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
    newest().hello().send(event("a"), event("b"));
    lose(1006);
    assert.equal(state().name, "reconnecting");
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?since=b");
    newest().hello({ recovered: true }).send(event("b"), event("c"));
    assert.deepEqual(heard.events, ["a", "b", "c"]);
  });

  it("resumes where nothing came, and after a position", () => {
    newest().hello({ at: "a" });
    lose(1001);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, "?since=a");
    newest().hello({ recovered: true }).send({ _control: "position", at: "p" });
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
    for (const code of [1002, 1003, 1007, 1008, 1009, 4400, 4401, 4403]) {
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
    newest().hello().send(event("a"));
    lose(4410);
    pass(BACKOFF_MS.most);
    assert.equal(newest().query, `?last=${HISTORY}`);
    assert.deepEqual(heard.gaps, [undefined]);
  });

  it("loads the newest events, not all that are kept, where the server could not resume", () => {
    newest().hello().send(event("a"), event("b"));
    lose(1006);
    pass(BACKOFF_MS.most);
    const unrecovered = newest().hello({ recovered: false, reason: "retention", at: "z" });
    assert.ok(unrecovered.closed);
    assert.equal(newest().query, `?last=${HISTORY}`);
    newest().hello({ at: "y" }).send(event("b"), event("c"));
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
    const old = newest().hello().send(event("a"), { _control: "goaway", reason: "drain", within_ms: 1_000 });
    pass(1_000);
    const next = newest();
    assert.notEqual(next, old);
    assert.equal(next.query, "?since=a");
    assert.ok(!old.closed);

    old.send(event("b"));
    next.hello({ recovered: true });
    assert.ok(old.closed);
    old.send(event("c"));
    next.send(event("b"), event("c"));
    assert.deepEqual(heard.events, ["a", "b", "c"]);
    assert.ok(heard.states.slice(1).every((state) => state.name === "live"));
  });

  it("is one lost connection where the old socket closes before the next is ready", () => {
    const old = newest().hello().send({ _control: "goaway", within_ms: 0 });
    pass(0);
    old.end(1001);
    assert.equal(state().name, "reconnecting");
    newest().hello({ recovered: true });
    assert.equal(state().name, "live");
    pass(BACKOFF_MS.most);
    assert.equal(sockets.length, 2);
  });

  it("is one lost connection where the next socket fails", () => {
    const old = newest().hello().send({ _control: "goaway", within_ms: 0 });
    pass(0);
    newest().end(1006);
    assert.equal(state().name, "live");
    old.end(1001);
    pass(BACKOFF_MS.most);
    assert.equal(sockets.length, 3);
  });
});

describe("a silent connection", () => {
  it("stays where the server answers", async () => {
    newest().hello();
    pass(SILENCE_MS + WATCH_MS);
    await settled();
    assert.equal(sockets.length, 1);
  });

  it("is replaced where it does not", async () => {
    newest().hello({ at: "a" });
    serverIsThere = false;
    pass(SILENCE_MS + WATCH_MS);
    await settled();
    assert.equal(state().name, "reconnecting");
    assert.equal(newest().query, "?since=a");
  });

  it("is asked about when the network changed", async () => {
    newest().hello();
    serverIsThere = false;
    connection.check();
    await settled();
    assert.equal(sockets.length, 2);
  });

  it("is replaced after the machine slept", () => {
    newest().hello();
    mock.timers.setTime(Date.now() + ASLEEP_MS + WATCH_MS);
    pass(WATCH_MS);
    assert.equal(sockets.length, 2);
  });
});
