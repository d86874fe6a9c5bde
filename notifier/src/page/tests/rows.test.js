import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { describe, it } from "node:test";

import { Flow } from "../view/flow.js";
import { recipientHash, rowsOfRecipient } from "../view/person.js";
import { RowList } from "../view/rows.js";
import { matcher } from "../view/search.js";
import { Shown } from "../view/shown.js";

const row = (name, more = {}) => ({ cursor: String(name), json: null, ...more });
const names = (list) => [...list].map(({ cursor }) => cursor).join(" ");
const filled = (count, max) => {
  const list = new RowList(max);
  for (let name = 0; name < count; name++) list.add(row(name));
  return list;
};

describe("the rows in memory", () => {
  it("are the newest, whatever comes", () => {
    const list = filled(100_000, 1_000);
    assert.deepEqual([list.size, list.end, list.at(list.end - 1).cursor, list.at(list.start).cursor], [1_000, 100_000, "99999", "99000"]);
    assert.ok(list.full && list.forgot);
  });

  it("keep their numbers when older ones are loaded", () => {
    const list = filled(3);
    assert.equal(list.addOlder([row("b"), row("a")]), 2);
    assert.equal(names(list), "b a 0 1 2");
    assert.equal(list.at(0).cursor, "0");
    assert.equal(list.at(-2).cursor, "b");
    assert.equal(list.oldestEvent().cursor, "b");
  });

  it("take no more older ones than there is room for, the newest of them first", () => {
    const list = filled(2, 4);
    assert.equal(list.addOlder([row("c"), row("b"), row("a")]), 2);
    assert.equal(names(list), "b a 0 1");
  });

  it("keep the JSON of the newest, up to a number of characters", () => {
    const list = new RowList(1_000, 100);
    for (let name = 0; name < 30; name++) list.add(row(name, { json: "x".repeat(10) }));
    assert.deepEqual([...list].map(({ json }) => json !== null), Array.from({ length: 30 }, (_, at) => at >= 20));
    list.addOlder([row("old", { json: "x".repeat(10) })]);
    assert.equal(list.at(-1).json, null);
  });

  it("are numbered anew where some went", () => {
    const list = filled(4);
    list.remove(({ cursor }) => cursor === "7");
    assert.equal(list.generation, 0);
    list.remove(({ cursor }) => cursor === "1");
    assert.equal(list.generation, 1);
    assert.equal(names(list), "0 2 3");
  });

  it("have an oldest event under notices", () => {
    const list = new RowList();
    assert.equal(list.oldestEvent(), null);
    list.add({ notice: "n" });
    list.add(row("a"));
    assert.equal(list.oldestEvent().cursor, "a");
  });
});

describe("rows that wait", () => {
  it("do so from the first reason to the last, and are counted", () => {
    const [list, flow] = [filled(5), new Flow()];
    assert.equal(flow.end(list), 5);
    assert.ok(flow.hold("hover", list));
    assert.ok(!flow.hold("hover", list));
    flow.hold("scroll", list);
    list.add(row("x"));
    list.add(row("y"));
    assert.deepEqual([flow.end(list), flow.waiting(list)], [5, 2]);
    flow.release("hover");
    assert.ok(flow.rests);
    flow.release("scroll");
    assert.deepEqual([flow.rests, flow.end(list), flow.waiting(list)], [false, 7, 0]);
  });

  it("never leave nothing to show, however many come", () => {
    const list = filled(5, 10);
    const flow = new Flow();
    flow.hold("reader", list);
    for (let name = 0; name < 1_000; name++) list.add(row(name));
    assert.ok(flow.end(list) > list.start);
    assert.ok(flow.end(list) <= list.end);
  });
});

describe("a search", () => {
  const mail = { email: "Jane.Doe@example.com", subject: "Your order", tags: ["shop"], kind: "open", state: "sent" };

  it("finds rows that have every word somewhere, in any case", () => {
    for (const found of ["jane", "ORDER shop", "doe@EXAMPLE", "  open  "]) assert.ok(matcher(found)(mail), found);
    for (const missed of ["john", "order bounce"]) assert.ok(!matcher(missed)(mail), missed);
    assert.equal(matcher("  "), null);
    assert.ok(!matcher("x")({ kind: null, email: null, tags: [] }));
  });

  it("shows what matches of what is loaded, of what comes, and of older ones", () => {
    const list = filled(3);
    const shown = new Shown(list);
    assert.equal(shown.list, list);
    shown.search(({ cursor }) => Number(cursor) % 2 === 0);
    assert.equal(names(shown.list), "0 2");
    list.add(row(4));
    shown.added(row(4));
    list.addOlder([row(-2), row(-1)]);
    shown.changed();
    assert.equal(names(shown.list), "-2 0 2 4");
    list.clear();
    assert.equal(names(shown.list), "");
    shown.search(null);
    assert.equal(shown.list, list);
  });
});

describe("a person", () => {
  const digest = (bytes) => webcrypto.subtle.digest("SHA-256", bytes);

  it("is named by a hash of the address, whatever its case", async () => {
    assert.equal(await recipientHash(" A@Example.com ", digest), await recipientHash("a@example.com", digest));
    assert.match(await recipientHash("a@example.com", digest), /^[0-9a-f]{16}$/);
  });

  it("is found among rows, and an address that was cut counts as theirs", async () => {
    const rows = ["a@example.com", "A@EXAMPLE.COM", "b@example.com", null, "x".repeat(1_000)].map((email) => ({ email }));
    const theirs = await rowsOfRecipient(rows, await recipientHash("a@example.com", digest), digest);
    assert.deepEqual(rows.map((row) => theirs.has(row)), [true, true, false, false, true]);
  });
});
