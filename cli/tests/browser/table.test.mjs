// The table as a reader uses it: many rows, rows that wait, and the keyboard.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, onStage, wire } from "./visit.mjs";

const MANY = 100_000;

describe("the table", { timeout: 240_000 }, () => {
  let service, browser, visit, page;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 } });
    page = visit.page;
  });

  const post = async (...ids) => {
    for (const _id of ids) await service.post(wire(event("open", { _id })));
  };
  const newer = () => page.locator("#newer");
  const top = () => visit.emails().then(([email]) => email);
  const scrollTo = (px) => page.locator("#scroller").evaluate((element, px) => (element.scrollTop = px), px);

  it("rests while the pointer is over it, counts what waits, and goes on when it leaves", async () => {
    await post("a", "b");
    await visit.row("id", "b").hover();
    await post("c", "d");
    await newer().filter({ hasText: "2 new" }).waitFor();
    assert.equal(await top(), "b@example.com");
    await page.mouse.move(640, 20);
    await visit.row("id", "d").waitFor();
    assert.equal(await newer().isVisible(), false);
  });

  it("rests and goes on with one key", async () => {
    await visit.press("Space");
    await post("e");
    await newer().filter({ hasText: "1 new" }).waitFor();
    assert.equal(await top(), "d@example.com");
    await visit.press("Space");
    await visit.row("id", "e").waitFor();
    await post("f");
    await visit.row("id", "f").waitFor();
  });

  it("stays where the reader has scrolled to, whatever comes", async () => {
    await service.post(wire(...Array.from({ length: 200 }, () => event("delivered"))));
    await visit.count(206);
    await scrollTo(2_000);
    await page.locator('#events [aria-rowindex="61"]').waitFor();
    const before = await visit.emails();
    await service.post(wire(...Array.from({ length: 300 }, () => event("delivered"))));
    await newer().filter({ hasText: "300 new" }).waitFor();
    assert.deepEqual(await visit.emails(), before);
    await newer().click();
    await visit.count(506);
    assert.equal(await page.locator("#scroller").evaluate((element) => element.scrollTop), 0);
    await page.mouse.move(640, 20);
  });

  it("obeys no key of one character where they are turned off, and says how they are turned on again", async () => {
    const open = () => page.evaluate(() => document.querySelector("dialog[open]")?.id ?? null);
    const singleKeys = page.getByRole("switch", { name: "Single-key shortcuts" });
    await visit.press("s");
    await singleKeys.uncheck();
    await visit.press("Escape");
    await visit.press("s", "w", "e", "?", "j", "Space", "/");
    assert.deepEqual([await open(), await page.locator("#selected-row").count()], [null, 0]);
    await page.locator("#open-help").click();
    await page.getByText("can be turned off in the settings").waitFor();
    await visit.press("Escape");
    await page.locator("#open-settings").click();
    await singleKeys.check();
    await visit.press("Escape");
    await visit.press("s");
    assert.equal(await open(), "settings-dialog");
    await visit.press("Escape");
    await page.mouse.move(640, 20);
  });

  it("moves over rows with the keyboard alone, from the newest to the oldest in memory", async () => {
    await page.locator("#grid").focus();
    await visit.press("j", "j", "ArrowDown", "k");
    const selected = page.locator('#events [aria-selected="true"]');
    await page.locator('#events [aria-selected="true"][aria-rowindex="3"]').waitFor();
    const active = await page.locator("#grid").getAttribute("aria-activedescendant");
    assert.equal(await selected.getAttribute("id"), active);
    for (let pages = 0; pages < 60; pages++) await visit.press("PageDown");
    await visit.page.locator('#events [aria-selected="true"][aria-rowindex="507"]').waitFor();
    assert.equal(await visit.cell(selected, "email"), "a@example.com");
    await visit.press("Space");
  });

  it(`holds ${MANY.toLocaleString("en")} events and is still scrolled through at once`, async () => {
    for (let sent = 0; sent < MANY; sent += 1_000) {
      await service.post(wire(...Array.from({ length: 1_000 }, () => event("delivered"))));
    }
    await service.post(wire(event("hard_bounce", { _id: "the-last" })));
    await visit.row("id", "the-last").waitFor();
    await visit.count(MANY);
    assert.ok((await visit.rows.count()) < 100, "only what is in sight is in the document");

    await scrollTo(1e9);
    const index = page.locator(`#events [role=row][aria-rowindex="${MANY + 1}"]`);
    await index.waitFor();
    await page.getByText(/100,000 events are loaded: narrow the filter/).waitFor();
    await scrollTo(1_800_000);
    // In the middle of it, rows are 34 to 38 pixels high.
    await page.waitForFunction(() => {
      const index = Number(document.querySelector("#events [role=row]")?.ariaRowIndex);
      return index > 45_000 && index < 55_000;
    });
    await visit.press("Space");
    await visit.row("id", "the-last").waitFor();
  });

  it("was never complained about", () => visit.assertQuiet(service));
});
