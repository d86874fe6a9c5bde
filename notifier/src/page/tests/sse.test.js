import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { LINE_MAX, MessageReader } from "../client/sse.js";

const text = 'event: control\ndata: {"a":1}\n\n:comment\n\nid: c\ndata: one\ndata:two\n\nretry: 5\n\ndata: last\r\n\r\n';
const messages = [
  { type: "control", data: '{"a":1}' },
  { type: "message", data: "one\ntwo" },
  { type: "message", data: "last" },
];

describe("a stream's text", () => {
  it("becomes the same messages wherever it is cut", () => {
    for (let at = 0; at <= text.length; at++) {
      const reader = new MessageReader();
      assert.deepEqual([...reader.read(text.slice(0, at)), ...reader.read(text.slice(at))], messages, `cut at ${at}`);
    }
    const reader = new MessageReader();
    assert.deepEqual([...text].flatMap((letter) => reader.read(letter)), messages);
  });

  it("is given up where a line has no end", () => {
    assert.throws(() => new MessageReader().read("x".repeat(LINE_MAX + 1)));
  });
});
