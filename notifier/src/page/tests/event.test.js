import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, it } from "node:test";

import { TEXT_MAX, labelsOf, rowOf } from "../view/event.js";

const fixtures = new URL("../../../../shared/fixtures/", import.meta.url);
const fixture = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, fixtures), "utf8"));

describe("a row", () => {
  it("shows a message event's kind, state, address, subject, tags and id", () => {
    const event = fixture("message-hard-bounce");
    const row = rowOf({ _cursor: "c1", _received: 1_760_000_400_123, ...event }, "{}");
    assert.deepEqual(row, {
      cursor: "c1",
      kind: "hard_bounce",
      state: event.msg.state,
      email: event.msg.email,
      subject: event.msg.subject,
      tags: event.msg.tags,
      sender: event.msg.sender,
      detail: event.msg.diag,
      id: event._id,
      receivedAt: 1_760_000_400_123,
      happenedAt: event.ts * 1000,
      json: "{}",
    });
  });

  const check = (name, expected) =>
    it(`is made of ${name}`, () => {
      const row = rowOf(fixture(name));
      for (const [field, value] of Object.entries(expected)) assert.equal(row[field], value, field);
    });
  check("sync-blacklist-add", { kind: "sync_blacklist_add", email: "blocked1@example.com", state: null, id: null });
  check("sync-whitelist-remove", { kind: "sync_whitelist_remove", email: "trusted2@example.com" });
  check("inbound", { kind: "inbound", state: null, id: null });
  check("edge-inbound-without-msg", { kind: "inbound", email: null, subject: null });
  check("edge-unknown-shape", { kind: "sync_quota_exceeded", email: null });
  check("edge-unknown-kind", { kind: "future_kind", state: "quantum" });
  check("edge-no-top-level-id-int-version", { id: fixture("edge-no-top-level-id-int-version").msg._id });

  it("is made of every fixture", () => {
    for (const file of readdirSync(fixtures).filter((file) => /^(message|sync|inbound|edge|batch)/.test(file))) {
      const events = [JSON.parse(readFileSync(new URL(file, fixtures), "utf8"))].flat();
      for (const event of events) {
        const row = rowOf(event);
        assert.ok(row.kind, file);
        assert.deepEqual(labelsOf(event, row)[0], ["event", row.kind]);
      }
    }
  });

  it("has no field of a type that cannot be shown, and none too long", () => {
    const odd = { event: {}, _id: [], ts: "soon", _received: Infinity, msg: { email: null, state: ["a"], subject: " ", tags: "x" } };
    assert.deepEqual(new Set(Object.values(rowOf(odd)).flat()), new Set([null]));
    for (const msg of [null, "text", 7, []]) assert.equal(rowOf({ msg }).email, null);
    assert.equal(rowOf({ msg: { subject: 0 } }).subject, "0");
    assert.equal(rowOf({ ts: 1e300 }).happenedAt, null);
    assert.equal(rowOf({ msg: { subject: "x".repeat(1_000_000) } }).subject.length, TEXT_MAX);
    assert.deepEqual(rowOf({ msg: { tags: [1, {}, null, "b"] } }).tags, ["1", "b"]);
    const halves = rowOf({ msg: { subject: "x".repeat(TEXT_MAX - 2) + "😀😀" } }).subject;
    assert.ok(halves.isWellFormed());
  });
});

describe("an event's labels", () => {
  it("are what filters see of it", () => {
    const event = { event: "open", msg: { email: "a@example.com", sender: "s@example.com", tags: ["x", "y"], subaccount: "eu",
      template: null, metadata: { user_id: 111, deep: {} } } };
    assert.deepEqual(labelsOf(event, rowOf(event)), [
      ["event", "open"], ["email", "a@example.com"], ["sender", "s@example.com"], ["tag", "x"], ["tag", "y"],
      ["subaccount", "eu"], ["metadata.user_id", "111"],
    ]);
  });

  it("are none of metadata that is a list", () => {
    const event = fixture("edge-metadata-empty-array");
    assert.ok(labelsOf(event, rowOf(event)).every(([name]) => !name.startsWith("metadata")));
  });
});
