import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { words } from "../header.js";
import { summary } from "../toasts.js";

describe("the connection's words", () => {
  const check = (state, expected) => it(`say "${expected}"`, () => assert.equal(words(state), expected));
  check({ name: "live" }, "Live");
  check({ name: "reconnecting", at: null }, "Reconnecting…");
  check({ name: "reconnecting", at: 1 }, "Not connected. Retrying");
  check({ name: "stopped", code: 4401 }, "Stopped: sign-in is needed or has expired");
  check({ name: "stopped", code: 1008, reason: "too many frames" }, "Stopped by the server: too many frames");
  check({ name: "stopped", code: 1008, reason: "" }, "Stopped by the server: code 1008");
});

describe("a shared toast", () => {
  const text = (counts) => summary(new Map(Object.entries(counts))).join(": ").replaceAll("\u00A0", " ");

  it("tells how many events came, and of which kinds most", () => {
    assert.equal(text({ send: 2, open: 9 }), "11 new events: 9 open · 2 send");
  });

  it("names first what alarms, and counts the rest together", () => {
    const counts = { send: 50, open: 40, click: 30, hard_bounce: 1, delivered: 20 };
    assert.equal(text(counts), "141 new events: 1 hard_bounce · 50 send · 40 open · 50 others");
  });
});
