import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { BOX, barAt, paths, sentence } from "../view/chart.js";
import { Counts, Rate, STEPS } from "../view/counts.js";
import { percent, ratios } from "../view/ratios.js";

const MINUTE = 60_000;
const NOW = 1_760_000_000_000 - (1_760_000_000_000 % MINUTE);
const total = (counts) => Object.fromEntries(counts.totals());
const answer = (counts, more = {}) => ({ from: NOW - 59 * MINUTE, to: NOW + MINUTE, step_ms: MINUTE, complete_from: NOW - 59 * MINUTE, counted_to: NOW, counts, ...more });
const steps = (...newest) => [...Array(STEPS - newest.length).fill(0), ...newest];

describe("counts", () => {
  it("are of the window: what is older goes as time does", () => {
    const counts = new Counts(MINUTE, NOW);
    counts.add("open", NOW - 10 * MINUTE);
    counts.add("open", NOW + 10);
    counts.add("open", NOW - 3_600_000);
    assert.deepEqual(total(counts), { open: 2 });
    counts.roll(NOW + 50 * MINUTE);
    assert.deepEqual(total(counts), { open: 1 });
    counts.roll(NOW);
    assert.deepEqual(total(counts), { open: 1 });
  });

  it("are the server's, and on top of them what it had not counted", () => {
    const counts = new Counts(MINUTE, NOW + 30_000);
    counts.load(answer({ send: steps(5, 0, 1), spam: steps(2) }, { counted_to: NOW + 30_000 }));
    counts.add("send", NOW + 31_000);
    assert.deepEqual(total(counts), { send: 7, spam: 2 });
    counts.load(answer({ send: steps(5, 0, 2), spam: steps(2) }, { counted_to: NOW + 31_000 }));
    assert.deepEqual(total(counts), { send: 7, spam: 2 });
  });

  // What comes over a connection begins with the past: when the page is opened, the filter changes, or it was away.
  const events = [NOW - 20 * MINUTE, NOW - MINUTE, NOW + 10_000, NOW + 20_000, NOW + 20_001];
  const counted = answer({ send: [...steps(1, ...Array(18).fill(0), 1, 2)] }, { counted_to: NOW + 20_000 });

  it("count no event twice, nor lose one, whether it comes before the server's counts or after them", () => {
    for (let before = 0; before <= events.length; before++) {
      const counts = new Counts(MINUTE, NOW + 30_000);
      for (const at of events.slice(0, before)) counts.add("send", at);
      assert.deepEqual(total(counts), before > 0 ? { send: before } : {});
      counts.load(counted);
      for (const at of events.slice(before)) counts.add("send", at);
      assert.deepEqual(total(counts), { send: 5 }, `${before} before`);
      assert.equal(counts.bars().at(-1).total, 3);
      counts.load(counted);
      assert.deepEqual(total(counts), { send: 5 });
    }
  });

  it("say since when they are complete", () => {
    const counts = new Counts(MINUTE, NOW);
    assert.equal(counts.completeFrom, NOW);
    counts.load(answer({}, { complete_from: NOW - 5 * MINUTE }));
    assert.equal(counts.completeFrom, NOW - 5 * MINUTE);
    counts.load(answer({}, { complete_from: null }));
    assert.equal(counts.completeFrom, NOW + MINUTE);
  });

  it("are bounded in the kinds they tell apart", () => {
    const counts = new Counts(MINUTE, NOW);
    for (let kind = 0; kind < 1_000; kind++) counts.add(`kind${kind}`, NOW);
    assert.ok(counts.totals().size <= 65);
    assert.equal([...counts.totals().values()].reduce((a, b) => a + b), 1_000);
  });
});

describe("the rate", () => {
  it("is that of the last ten seconds", () => {
    const rate = new Rate();
    for (let event = 0; event < 50; event++) rate.add(NOW, NOW);
    assert.equal(rate.perSecond(NOW), 5);
    assert.equal(rate.perSecond(NOW + 10_000), 0);
  });

  it("is of events by when they were received, in whatever order they come", () => {
    const rate = new Rate();
    for (const at of [NOW, NOW - 60_000, NOW - 5_000, NOW - 60_000]) rate.add(at, NOW);
    assert.equal(rate.perSecond(NOW), 0.2);
    assert.equal(rate.perSecond(NOW + 6_000), 0.1);
  });
});

describe("ratios", () => {
  const shown = (counts) => ratios(new Map(Object.entries(counts))).map(({ called, ratio, numbers }) => `${called} ${percent(ratio)} (${numbers})`);

  it("stand beside the numbers they come from", () => {
    assert.deepEqual(shown({ send: 200, delivered: 190, open: 95, click: 1, hard_bounce: 3, soft_bounce: 1, spam: 0 }), [
      "Delivered 95.0 % (190 of 200 sent)",
      "Opens 50 % (95 opens, 190 delivered)",
      "Clicks 0.5 % (1 click, 190 delivered)",
      "Bounced 2.0 % (4 of 200 sent)",
      "Complaints 0 % (0 of 190 delivered)",
    ]);
  });

  it("are compared with what was sent where deliveries are not reported, and are none without a base", () => {
    assert.equal(shown({ send: 10, open: 20 })[1], "Opens 200 % (20 opens, 10 sent)");
    assert.equal(shown({ open: 20 })[1], "Opens – (none delivered)");
  });

  it("are never rounded to nothing or to all", () => {
    assert.equal(percent(1 / 100_000), "< 0.1 %");
    assert.equal(percent(99_999 / 100_000), "99.9 %");
    assert.equal(percent(1), "100 %");
  });
});

describe("the chart", () => {
  const bars = [{ at: 0, total: 1_000, alarming: 0 }, { at: 1, total: 0, alarming: 0 }, { at: 2, total: 1, alarming: 1 }];

  it("draws the highest to the top, and nothing so low that it is not seen", () => {
    const { most, total, alarming } = paths(bars);
    assert.equal(most, 1_000);
    assert.equal(total.match(/M/g).length, 2);
    assert.ok(total.includes(`v-${BOX.height}h`));
    assert.ok(alarming.includes("v-4h"));
    assert.deepEqual(paths([{ total: 0, alarming: 0 }]), { most: 1, total: "", alarming: "" });
  });

  it("tells which step is pointed at, and says itself in a sentence", () => {
    assert.equal(barAt(bars, 0.5).at, 1);
    assert.equal(barAt(bars, 1).at, 2);
    assert.equal(sentence(bars, "1 hour", MINUTE),
      "Events over the last 1 hour: 1,001, of them 1 bounced, rejected or complained; at most 1,000 in 60 seconds");
  });
});
