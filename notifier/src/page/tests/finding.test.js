import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { query, readFragment, readTyped, valuesOf, withValues, withoutValue, writeFragment } from "../view/filters.js";
import { Seen } from "../view/suggestions.js";

describe("the fragment", () => {
  const place = {
    filter: { event: ["hard_bounce", "spam"], email: ["a+b@example.com"], "metadata.user id": ["7&8", "Doe, Jane"] },
    search: "order 1004 #x",
    message: null,
    recipient: "jané@example.com",
  };

  it("says where one is, and reads as it was written", () => {
    assert.deepEqual(readFragment(`#${writeFragment(place)}`), place);
    assert.match(writeFragment(place), /^event=hard_bounce&event=spam&email=a%2Bb@example.com/);
  });

  it("may say anything: what is no filter is nothing", () => {
    const nowhere = { filter: {}, search: "", message: null, recipient: null };
    for (const fragment of ["", "#", "#%", "#nonsense", "#filter=x&since=y&__proto__=z&metadata.=1", "#event=", "#event=,,&message="]) {
      assert.deepEqual(readFragment(fragment), nowhere, fragment);
    }
    assert.deepEqual(readFragment("#event=open,click&event=open").filter, { event: ["open", "click"] });
  });
});

describe("a filter", () => {
  it("gains and loses values, and a name without values goes", () => {
    const filter = withValues(withValues({}, "tag", ["a", "b"]), "tag", ["b", "c"]);
    assert.deepEqual(filter, { tag: ["a", "b", "c"] });
    assert.deepEqual(withoutValue(filter, "tag", "b"), { tag: ["a", "c"] });
    assert.deepEqual(withoutValue({ tag: ["a"], event: ["open"] }, "tag", "a"), { event: ["open"] });
    assert.equal(query(filter, { limit: 5, before: null }), "tag=a&tag=b&tag=c&limit=5");
  });

  it("may hold commas, which stand between values elsewhere", () => {
    assert.deepEqual(valuesOf("a, b,,"), ["a", "b"]);
    assert.deepEqual(valuesOf("Doe\\, Jane, shop\\ann, b\\"), ["Doe, Jane", "shop\\ann", "b\\"]);
    assert.deepEqual(valuesOf("a\\\\,b"), ["a\\,b"]);
    for (const value of ["a,b", ",", "a\\,b", "b\\"]) {
      assert.deepEqual(readFragment(writeFragment({ filter: { tag: [value, "x"] } })).filter, { tag: [value, "x"] });
    }
    assert.equal(new URLSearchParams(query({ tag: ["a,b"] })).get("tag"), "a\\,b");
  });

  it("is typed by its name", () => {
    assert.deepEqual(readTyped("tag: orders "), { name: "tag", value: "orders" });
    assert.deepEqual(readTyped("e-mail:a@b"), null);
    assert.deepEqual(readTyped("metadata.user_id:7"), { name: "metadata.user_id", value: "7" });
    for (const text of ["orders", "Re: your order", "subject:x", "10:30"]) assert.equal(readTyped(text), null, text);
  });
});

describe("suggestions", () => {
  const seen = new Seen();
  for (let times = 0; times < 3; times++) seen.add([["tag", "orders"], ["event", "hard_bounce"]]);
  seen.add([["tag", "order-status"], ["email", "bo.orders@example.com"], ["event", "open"]]);
  const suggested = (typed) => seen.suggest(typed).map(({ name, value }) => `${name}:${value}`);

  it("are values that were seen: what begins so first, then the most frequent", () => {
    assert.deepEqual(suggested("order"), ["tag:orders", "tag:order-status", "email:bo.orders@example.com"]);
    assert.deepEqual(suggested("tag:ord"), ["tag:ord", "tag:orders", "tag:order-status"]);
    assert.deepEqual(suggested("hard b"), ["event:hard_bounce"]);
    assert.deepEqual(suggested(""), []);
  });

  it("offer what was never seen where it is clear what it is", () => {
    assert.deepEqual(suggested("new@example.com"), ["email:new@example.com"]);
    assert.deepEqual(suggested("subaccount:eu"), ["subaccount:eu"]);
  });

  it("remember a bounded number of values", () => {
    const many = new Seen();
    for (let value = 0; value < 5_000; value++) many.add([["email", `person${value}@example.com`]]);
    assert.deepEqual(many.suggest("person0@"), []);
    assert.equal(many.suggest("person4999@").length, 1);
  });
});
