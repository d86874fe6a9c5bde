import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readFileSync, readdirSync } from "node:fs";
import { webcrypto } from "node:crypto";

import { Rate, RowList, TEXT_MAX, Tally, rowOf, rowsOfRecipient } from "../model.js";

const fixtures = new URL("../../../../shared/fixtures/", import.meta.url);
const fixture = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, fixtures), "utf8"));

describe("a row", () => {
  it("shows a message event's kind, state, address, subject and id", () => {
    const event = fixture("message-hard-bounce");
    const row = rowOf({ _cursor: "c1", _received: 1_760_000_400_123, ...event });
    assert.deepEqual(row, {
      cursor: "c1",
      kind: "hard_bounce",
      state: event.msg.state,
      email: event.msg.email,
      subject: event.msg.subject,
      id: event._id,
      receivedAt: 1_760_000_400_123,
      happenedAt: event.ts * 1000,
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
      for (const event of events) assert.ok(rowOf(event).kind, file);
    }
  });

  it("has no field of a type that cannot be shown, and none too long", () => {
    const odd = { event: {}, _id: [], ts: "soon", _received: Infinity, msg: { email: null, state: ["a"], subject: " " } };
    assert.deepEqual(new Set(Object.values(rowOf(odd))), new Set([null]));
    for (const msg of [null, "text", 7, []]) assert.equal(rowOf({ msg }).email, null);
    assert.equal(rowOf({ msg: { subject: 0 } }).subject, "0");
    assert.equal(rowOf({ ts: 1e300 }).happenedAt, null);
    assert.equal(rowOf({ msg: { subject: "x".repeat(1_000_000) } }).subject.length, TEXT_MAX);
  });
});

describe("the list of rows", () => {
  const filled = (max, count) => {
    const list = new RowList(max);
    for (let row = 0; row < count; row++) list.add(row);
    return list;
  };

  it("keeps the newest, and never more than its limit", () => {
    for (const count of [0, 1, 99, 100, 101, 250, 1000]) {
      const list = filled(100, count);
      assert.equal(list.end, count);
      assert.equal(list.size, Math.min(count, 100));
      assert.deepEqual(list.since(0), Array.from({ length: list.size }, (_, at) => list.start + at));
    }
  });

  it("tells what came since an index, the newest where that is too much", () => {
    const list = filled(100, 250);
    assert.deepEqual(list.since(248), [248, 249]);
    assert.deepEqual(list.since(0, 3), [247, 248, 249]);
    assert.deepEqual(list.since(250), []);
  });

  it("says that rows went", () => {
    const list = filled(100, 10);
    list.remove(() => false);
    assert.equal(list.generation, 0);
    list.remove((row) => row % 2);
    assert.equal(list.generation, 1);
    assert.deepEqual(list.since(0), [0, 2, 4, 6, 8]);
  });
});

describe("the counters", () => {
  it("count kinds of every name, and those they know apart", () => {
    const tally = new Tally();
    for (const kind of ["open", "hard_bounce", "soft_bounce", "future_kind", "__proto__", null]) tally.add({ kind });
    assert.equal(tally.seen, 6);
    assert.equal(tally.counts.opened, 1);
    assert.equal(tally.counts.bounced, 2);
    assert.equal(tally.counts.sent, 0);
  });

  it("tell the rate of the last ten seconds", () => {
    const rate = new Rate();
    for (let event = 0; event < 50; event++) rate.add(1_000_000);
    for (let event = 0; event < 50; event++) rate.add(1_005_000);
    assert.equal(rate.perSecond(1_005_000), 10);
    assert.equal(rate.perSecond(1_012_000), 5);
    assert.equal(rate.perSecond(1_020_000), 0);
  });
});

describe("an erased person's rows", () => {
  const digest = (bytes) => webcrypto.subtle.digest("SHA-256", bytes);

  it("are found by the hash the server names people with, however the address is spelled", async () => {
    const rows = [" Ada@Example.com", "ada@example.com", "bob@example.com", null].map((email) => ({ email }));
    const ada = "b5fc85e55755f9e0"; // printf ada@example.com | sha256sum | cut -c 1-16
    assert.deepEqual(await rowsOfRecipient(rows, ada, digest), new Set(rows.slice(0, 2)));
  });

  it("include those whose address is too long to compare", async () => {
    const row = rowOf({ msg: { email: "x".repeat(5_000) } });
    assert.deepEqual(await rowsOfRecipient([row], "0000000000000000", digest), new Set([row]));
  });
});
