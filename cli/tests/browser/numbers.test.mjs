// The numbers of a window, and the export of a view.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";

import { Visit, event, fixture, onStage, wire } from "./visit.mjs";

describe("numbers and files", { timeout: 120_000 }, () => {
  let service, browser, visit, page;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    const msg = { email: "jane@example.com", subject: "Hello Jane" };
    await service.post(wire(...["send", "delivered", "open", "click"].map((kind) => event(kind, { _id: "story", msg }))));
    await service.post(wire(fixture("message-hard-bounce"), event("send", { _id: "other", msg })));
    visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 } });
    page = visit.page;
  });

  it("are those of the window: a counter a kind, rates with their numbers, and a chart", async () => {
    const counter = (kind) => page.locator(`#counters [data-kind="${kind}"] b`);
    const said = { send: "2", delivered: "1", open: "1", click: "1", hard_bounce: "1", spam: "0" };
    for (const [kind, number] of Object.entries(said)) await counter(kind).filter({ hasText: new RegExp(`^${number}$`) }).waitFor();
    const ratio = (name) => page.locator(`#ratios [data-ratio="${name}"]`).innerText();
    assert.match(await ratio("delivered"), /50 %\s+1 of 2 sent/);
    assert.match(await ratio("bounced"), /50 %\s+1 of 2 sent/);
    assert.match(await ratio("clicked"), /100 %\s+1 click, 1 delivered/);
    assert.match(await page.locator("#chart").getAttribute("aria-label"), /^Events over the last 1 hour: 6, of them 1 bounced/);
    assert.ok(await page.locator("#chart .alarming").getAttribute("d"));
    await service.post(wire(event("spam")));
    await counter("spam").filter({ hasText: /^1$/ }).waitFor();
  });

  it("of every kind are shown also where the view is filtered by one", async () => {
    const counter = page.locator('#counters [data-kind="hard_bounce"]');
    await counter.click();
    await visit.count(1);
    await page.locator('#counters [data-kind="send"] b', { hasText: /^2$/ }).waitFor();
    await counter.click();
    await visit.count(7);
  });

  it("are exported as they are filtered, and said to be complete", async () => {
    await page.goto(`${service.origin}/#event=send`);
    await visit.count(2);
    for (const format of ["NDJSON", "CSV"]) {
      await visit.press("e");
      const download = page.waitForEvent("download");
      await page.getByRole("button", { name: format, exact: true }).click();
      const text = readFileSync(await (await download).path(), "utf8");
      assert.equal(text.match(/Hello Jane/g).length, 2, text);
      assert.doesNotMatch(text, /hard_bounce/);
      await page.getByText("Saved: 2 events.").waitFor();
      await visit.press("Escape");
    }
  });

  it("were never complained about", () => visit.assertQuiet(service));
});
