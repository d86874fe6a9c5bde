import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";

import { STRING_MAX, elementsOf, pretty } from "../view/json.js";
import { clientOf, diagnosisOf, headOf, placeOf, timeline } from "../view/message.js";

const fixture = (name) => JSON.parse(readFileSync(new URL(`../../../../shared/fixtures/${name}.json`, import.meta.url), "utf8"));

describe("a timeline", () => {
  const event = (kind, ts, more = {}) => ({ event: kind, _id: "m", ts, ...more });
  const kinds = (events) => timeline(events).map(({ row }) => row.kind).join(" ");

  it("has its events in the order they happened, whatever order they came in", () => {
    assert.equal(kinds([event("click", 30), event("send", 10), event("open", 20)]), "send open click");
  });

  it("has what happened within one second in the order it must have happened", () => {
    const sameSecond = ["click", "open", "delivered", "deferral", "send"].map((kind) => event(kind, 10));
    assert.equal(kinds(sameSecond), "send deferral delivered open click");
  });

  it("goes by the arrival where an event has no time, and takes any event", () => {
    assert.equal(kinds([{ event: "open", _received: 20_000 }, event("send", 10), event("click", 30)]), "send open click");
    for (const odd of [{}, { event: 7, msg: 7, location: [], user_agent_parsed: "x", url: {} }, { msg: null }]) timeline([odd]);
  });

  it("tells where and with what a message was opened, and the link that was clicked", () => {
    const [{ facts }] = timeline([fixture("message-click")]);
    assert.deepEqual(facts, [
      ["Where", "Oslo, Norway (192.0.2.44)"],
      ["With", "Apple Mail 16.0 on OS X 10.15 Catalina"],
      ["Link", "https://shop.example.com/track?order=1007&src=mail"],
    ]);
    const bare = fixture("edge-open-null-location-and-ua");
    assert.equal(clientOf(bare), bare.user_agent ?? null);
    assert.equal(placeOf({ ip: "192.0.2.1", location: null }), "192.0.2.1");
    assert.equal(placeOf({}), null);
  });
});

describe("a diagnosis", () => {
  it("says what the other side said, and what that means", () => {
    assert.deepEqual(diagnosisOf(fixture("message-hard-bounce")), {
      said: "smtp;550 5.1.1 <recipient4@example.com>: Recipient address rejected: User unknown",
      description: "bad_mailbox",
      status: "5.1.1",
      meaning: "The address does not exist.",
    });
  });

  it("is none of what got through, and has no more than is known", () => {
    assert.equal(diagnosisOf(fixture("message-delivered")), null);
    const bare = diagnosisOf(fixture("edge-bounce-empty-diag-no-metadata"));
    assert.ok(bare === null || bare.meaning === null);
    assert.equal(diagnosisOf({ event: "soft_bounce", msg: { diag: "550 9.9.9 what" } }).meaning, null);
  });

  it("of a deferral is the last attempt's", () => {
    const smtp_events = [{ diag: "451 4.3.0 first" }, { diag: "421 4.4.2 last" }];
    assert.equal(diagnosisOf({ event: "deferral", msg: { smtp_events } }).status, "4.4.2");
  });
});

describe("a message's head", () => {
  it("is what any of its events says", () => {
    const head = headOf([{ event: "open", msg: {} }, fixture("message-hard-bounce")]);
    assert.equal(head.email, "recipient4@example.com");
    assert.deepEqual(head.tags, ["orders", "shipping"]);
    assert.equal(head.template, null);
  });
});

describe("JSON for a reader", () => {
  it("is laid out as it was written: numbers keep their digits, texts their braces", () => {
    const json = '{"a":12345678901234567890,"b":[1.0,true,null,[]],"c":"{,}: \\"x\\"","d":{}}';
    assert.equal(pretty(json), '{\n  "a": 12345678901234567890,\n  "b": [\n    1.0,\n    true,\n    null,\n    []\n  ],\n  "c": "{,}: \\"x\\"",\n  "d": {}\n}');
    assert.deepEqual(JSON.parse(pretty(JSON.stringify(fixture("message-open")))), fixture("message-open"));
  });

  it("cuts a text of a megabyte, and says how much is left out", () => {
    const shown = pretty(JSON.stringify({ a: "x".repeat(1_000_000), b: 1 }));
    assert.ok(shown.length < STRING_MAX + 200);
    assert.match(shown, /… *" \(998,000 more characters\)/);
    assert.ok(shown.endsWith('"b": 1\n}'));
  });

  it("is cut at its end where there is too much of it", () => {
    assert.ok(pretty(JSON.stringify(Array(500_000).fill(1))).length < 300_000);
    for (const broken of ["", "{", "]]]]", '{"a":', '"\\']) pretty(broken);
  });

  it("is found again in a page of events, each as it was stored", () => {
    const texts = ['{"_cursor":"a","events":[1,{"x":"]}"}]}', '{"b":1.0}', "{}"];
    assert.deepEqual(elementsOf(`{"next":"events","events":[${texts.join(" , ")}],"more":[{"c":1}]}`, "events"), texts);
    assert.deepEqual(elementsOf('{"events":[]}', "events"), []);
  });
});
