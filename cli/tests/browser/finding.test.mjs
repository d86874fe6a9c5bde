// Finding events: by filters, by free text, and further back than what is loaded.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, onStage, wire } from "./visit.mjs";

describe("finding events", { timeout: 120_000 }, () => {
  let service, browser, visit, page;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    // More than the page begins with, and one of a kind among the oldest.
    await service.post(wire(event("hard_bounce", { _id: "first", msg: { email: "first@example.net", subject: "The very first", tags: ["rare"] } })));
    for (let batch = 0; batch < 2; batch++) await service.post(wire(...Array.from({ length: 600 }, () => event("delivered", { msg: { tags: ["bulk"] } }))));
    await service.post(wire(event("click", { _id: "shop", msg: { subject: "Your cart", tags: ["shop"] } }), event("spam", { _id: "angry", msg: { tags: ["bulk"] } })));
    visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 } });
    page = visit.page;
  });

  const chip = (text) => page.locator("#chips li", { hasText: text });
  const scrollDown = () => page.locator("#scroller").evaluate((element) => (element.scrollTop = element.scrollHeight));

  it("loads older events while the reader scrolls down, to the oldest that is kept", async () => {
    // As a reader who keeps scrolling.
    await page.waitForFunction(() => {
      const scroller = document.querySelector("#scroller");
      scroller.scrollTop = scroller.scrollHeight;
      return document.querySelector("#older").textContent.includes("Nothing older is kept");
    });
    await scrollDown();
    await visit.row("id", "first").waitFor();
    await visit.count(1_203);
    await visit.press("Space");
  });

  it("filters by what was seen, as it is typed, with the keyboard alone, and asks the server for the history", async () => {
    await visit.press("/");
    await page.keyboard.type("rar");
    await page.getByRole("option", { name: /Tag rare/ }).waitFor();
    await visit.press("ArrowDown", "Enter");
    await chip("rare").waitFor();
    await visit.count(1);
    assert.deepEqual(await visit.emails(), ["first@example.net"]);
    assert.match(page.url(), /#tag=rare$/);
  });

  it("shows of a filtered view only what matches, also when it arrives", async () => {
    await service.post(wire(event("open", { msg: { tags: ["bulk"] } }), event("open", { _id: "rare-too", msg: { tags: ["rare"] } })));
    await visit.row("id", "rare-too").waitFor();
    await visit.count(2);
  });

  it("takes a value that was never seen, and several as alternatives", async () => {
    await visit.press("Escape", "/");
    await page.keyboard.type("tag:shop, never-seen");
    await visit.press("Enter");
    await visit.count(3);
    assert.equal(await page.locator("#chips li").count(), 3);
    assert.match(page.url(), /#tag=rare&tag=shop&tag=never-seen$/);
  });

  it("goes back with the browser, and is a link that can be shared", async () => {
    await page.goBack();
    await visit.count(2);
    const other = await Visit.to(service, browser, { fragment: "#event=spam&tag=bulk" });
    await other.count(1);
    assert.equal(await other.cell(other.rows.first(), "event"), "Complaint");
    assert.equal(await other.page.locator("#chips li").count(), 2);
    await other.close();
  });

  it("sends no address bar's fragment to the server", () => {
    assert.ok(visit.addresses.every((address) => !address.includes("#")));
  });

  it("clears all filters with one key, and takes the last away with Backspace", async () => {
    await page.locator("#grid").focus();
    await visit.press("x");
    await page.locator("#chips li").first().waitFor({ state: "detached" });
    await visit.row("id", "angry").waitFor();
    await page.getByRole("button", { name: /Complaint/ }).click();
    await visit.count(1);
    await visit.press("/", "Backspace");
    await page.locator("#chips li").first().waitFor({ state: "detached" });
  });

  it("filters by a counter", async () => {
    const counter = page.locator('#counters [data-kind="hard_bounce"]');
    await counter.click();
    await visit.count(1);
    assert.equal(await counter.getAttribute("aria-pressed"), "true");
    await counter.click();
    await visit.row("id", "angry").waitFor();
  });

  it("searches what is loaded while it is typed, and further back when asked", async () => {
    await page.reload();
    await visit.state("live");
    await visit.press("/");
    await page.keyboard.type("VERY first");
    await page.getByRole("button", { name: "Search older events" }).waitFor();
    assert.equal(await visit.rows.count(), 0);
    assert.match(page.url(), /#search=VERY\+first$/);
    const found = visit.row("id", "first");
    const further = page.getByRole("button", { name: "Search older events" });
    for (let loads = 0; loads < 10 && !(await found.isVisible()); loads++) {
      await found.or(further).first().waitFor();
      // The button goes once everything was looked through.
      await further.click({ timeout: 2_000 }).catch(() => {});
    }
    await found.waitFor();
    await visit.press("Escape", "Escape");
  });

  it("was never complained about", () => visit.assertQuiet(service));
});
