import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ending } from "../view/exporting.js";
import { Settings, DEFAULTS, sound } from "../view/settings.js";
import { TokenKeeper, readToken } from "../view/token.js";
import { summary } from "../view/toasts.js";
import { accessWords, ago, connectionWords, refusals, secondsLeft, webhookWords } from "../view/words.js";

describe("the connection's words", () => {
  const check = (state, expected) => it(`say "${expected}"`, () => assert.equal(connectionWords(state).text, expected));
  check({ name: "live", transport: "websocket" }, "Live");
  check({ name: "live", transport: "sse" }, "Live over HTTP");
  check({ name: "catching-up", count: 1_234 }, "Catching up: 1,234 events");
  check({ name: "stalled" }, "Broker silent");
  check({ name: "reconnecting", at: null }, "Reconnecting…");
  check({ name: "reconnecting", at: 1 }, "Not connected. Retrying");
  check({ name: "unauthorized" }, "A token is needed");
  check({ name: "stopped" }, "Disconnected");
  check({ name: "stopped", code: 4403, reason: "not allowed" }, "Not allowed: not allowed");
  check({ name: "stopped", code: 1008, reason: "too many frames" }, "Stopped by the server: too many frames");
  check({ name: "stopped", code: 1008, reason: "" }, "Stopped by the server: code 1008");

  it("count down in whole seconds, and never to nothing", () => {
    assert.equal(secondsLeft({ name: "reconnecting", at: 3_100 }, 1_000), 3);
    assert.equal(secondsLeft({ name: "reconnecting", at: 900 }, 1_000), 1);
    assert.equal(secondsLeft({ name: "live" }, 0), null);
  });
});

describe("the webhook's words", () => {
  const NOW = 1_000_000;
  const report = (more = {}) => ({ replica: "r", at_ms: NOW - 1_000, authentication: "signed", last_batch_ms: null, last_refusal: null, ...more });
  const said = (...ingest) => Object.values(webhookWords({ ingest }, NOW)).join(": ");

  it("tell when the last batch came, of whichever replica", () => {
    assert.equal(said(report(), report({ last_batch_ms: NOW - 12_000 })), "good: Last batch 12 s ago");
    assert.equal(said(report()), "quiet: No batch yet");
  });

  it("tell that batches are refused, and why, until one is taken", () => {
    const last_refusal = { at_ms: NOW - 5_000, name: "signature", detail: "d" };
    assert.equal(said(report({ last_refusal, last_batch_ms: NOW - 9_000 })), "bad: Webhook refused 5 s ago: signature");
    assert.equal(said(report({ last_refusal, last_batch_ms: NOW - 2_000 })), "good: Last batch 2 s ago");
    assert.equal(said(report({ authentication: "no-key" })), "bad: Webhook has no key yet");
  });

  it("say no more than is known", () => {
    assert.equal(said(report({ at_ms: NOW - 60_000 })), "bad: No webhook service reports");
    assert.equal(webhookWords({ ingest: [] }, NOW, 1_000).mood, "unknown");
    assert.equal(webhookWords(null, NOW).mood, "unknown");
    assert.deepEqual(webhookWords({ ingest: null }, NOW), { mood: "unknown", text: "Webhook: not shown to this token" });
    assert.equal(said(), "bad: No webhook service reports");
  });

  it("count refusals over all replicas", () => {
    const reports = [{ requests: { accepted: 9, signature: 2 } }, { requests: { signature: 1, busy: 1 } }, {}];
    assert.deepEqual([...refusals(reports)], [["signature", 3], ["busy", 1]]);
  });

  it("tell ages in the unit that fits", () => {
    assert.deepEqual([0, 59_000, 61_000, 7_200_000, 200_000_000].map(ago), ["just now", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]);
  });
});

describe("what a token allows", () => {
  it("is said in a line, with the time that is left", () => {
    const me = { subject: "jane", filter: { sender: ["a@example.com", "b@example.com"], tag: ["x"] }, expires_at: 180_000 };
    assert.equal(accessWords(me, 0), "Only sender a@example.com or b@example.com, tag x, for 3 min");
    assert.equal(accessWords({ subject: "jane", filter: null, expires_at: 1 }, 5), "All events, the token has ended");
    assert.equal(accessWords({ subject: null, filter: null, expires_at: null }, 0), null);
    assert.equal(accessWords(null, 0), null);
  });
});

describe("a token", () => {
  const storage = () => {
    const kept = new Map();
    return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
  };

  it("is read as people paste it", () => {
    for (const typed of ["a.b-c_d", " a.b-c_d\n", "Bearer a.b-c_d", "Authorization: Bearer a.b-c_d"]) assert.equal(readToken(typed), "a.b-c_d", typed);
    for (const typed of ["", "  ", "two words", "a\u0000b", "é"]) assert.equal(readToken(typed), null, typed);
  });

  it("is kept for the tab, and forgotten when asked", () => {
    const tab = storage();
    new TokenKeeper(() => tab).token = "t";
    const keeper = new TokenKeeper(() => tab);
    assert.equal(keeper.token, "t");
    keeper.token = null;
    assert.equal(new TokenKeeper(() => tab).token, null);
  });

  it("is kept as long as the page where the browser stores nothing", () => {
    const keeper = new TokenKeeper(() => { throw new Error("refused"); });
    keeper.token = "t";
    assert.equal(keeper.token, "t");
  });
});

describe("settings", () => {
  it("are the standard where what is stored is anything else", () => {
    for (const stored of [null, "text", 7, [], { theme: 7, toasts: "yes", notify: "spam" }]) assert.deepEqual(sound(stored), { ...DEFAULTS });
    assert.deepEqual(sound({ theme: "dark", unknown: 1, notify: ["spam"] }), { ...DEFAULTS, theme: "dark", notify: ["spam"] });
  });

  it("are followed, and stored as nothing but themselves", () => {
    const kept = new Map();
    const settings = new Settings(() => ({ getItem: () => "{", setItem: (key, value) => kept.set(key, value) }));
    const heard = {};
    settings.follow((name, value) => (heard[name] = value));
    assert.deepEqual(heard, { ...DEFAULTS });
    settings.set("utc", true);
    assert.equal(heard.utc, true);
    assert.deepEqual(Object.keys(JSON.parse([...kept.values()][0])).sort(), Object.keys(DEFAULTS).sort());
  });
});

describe("an export's end", () => {
  it("says whether the file is complete", () => {
    const whole = { complete: true, events: 12, reason: "complete" };
    assert.deepEqual(ending("ndjson", '{"a":1}\n{"_export":"complete","events":12,"at":"c"}\n'), whole);
    assert.deepEqual(ending("csv", "a,b\r\n#complete,,,,,,,,,,12,,,,,,c\r\n"), whole);
    assert.deepEqual(ending("ndjson", '{"_export":"incomplete","events":3,"at":"c","reason":"drain"}'), { complete: false, events: 3, reason: "drain" });
  });

  it("is not reached where the file broke off", () => {
    for (const tail of ["", '{"event":"open"}\n', '{"_export":"compl', "x,y,z\r\n"]) {
      for (const format of ["ndjson", "csv"]) assert.equal(ending(format, tail).complete, false, tail);
    }
  });
});

describe("a shared toast", () => {
  const text = (counts) => summary(new Map(Object.entries(counts))).join(": ").replaceAll("\u00A0", " ");

  it("tells how many events came, and of which kinds most", () => {
    assert.equal(text({ send: 2, open: 9 }), "11 new events: 9 Opened · 2 Sent");
  });

  it("names first what alarms, and counts the rest together", () => {
    const counts = { send: 50, open: 40, click: 30, hard_bounce: 1, delivered: 20 };
    assert.equal(text(counts), "141 new events: 1 Hard bounce · 50 Sent · 40 Opened · 50 others");
  });
});
