// One message and one person.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, fixture, onStage, wire } from "./visit.mjs";

describe("what is known of a message", { timeout: 120_000 }, () => {
  let service, browser, visit, page;
  const bounce = fixture("message-hard-bounce");
  const click = fixture("message-click");
  const jane = { email: "Jane@example.com", subject: "Hello Jane" };

  onStage(async (stage) => {
    ({ service, browser } = stage);
    visit = await Visit.to(service, browser, {
      viewport: { width: 1280, height: 800 },
      prepare: (page, context) => context.grantPermissions(["clipboard-read", "clipboard-write"]),
    });
    page = visit.page;
    // As they may come: the latest first.
    await service.post(wire({ ...click, _id: "story", msg: { ...click.msg, ...jane } }, event("open", { _id: "story", ts: click.ts - 10, msg: jane })));
    await service.post(wire(event("send", { _id: "story", ts: click.ts - 20, msg: jane }), event("delivered", { _id: "story", ts: click.ts - 20, msg: jane })));
    await service.post(wire(bounce, event("send", { _id: "other", msg: jane })));
    await visit.row("id", "other").waitFor();
  });

  const timeline = () => page.locator("#panel .timeline > li > b").allInnerTexts();
  const panel = () => page.locator("#panel");

  it("is opened with the keyboard and told in the order it happened, whatever order it came in", async () => {
    await page.locator("#grid").focus();
    await visit.press("j", "j", "j", "Enter");
    await panel().waitFor();
    await page.locator("#panel .timeline > li").nth(3).waitFor();
    assert.deepEqual(await timeline(), ["Sent", "Delivered", "Opened", "Clicked"]);
    assert.match(page.url(), /#message=story$/);
    for (const text of ["Oslo, Norway", "Apple Mail 16.0 on OS X", click.url]) await visit.panelSays(text);
    await visit.press("Escape");
    assert.equal(await panel().isVisible(), false);
    assert.equal(page.url(), `${service.origin}/`);
  });

  it("says of a bounce what the other side said, and what that means", async () => {
    await visit.row("id", bounce._id).click();
    for (const text of [bounce.msg.diag, "The address does not exist. (5.1.1)", "bad mailbox"]) await visit.panelSays(text);
  });

  it("has the JSON as it was stored, and copies it", async () => {
    await page.getByText("JSON: Hard bounce").click();
    await page.locator("#panel pre", { hasText: bounce._id }).waitFor();
    const shown = JSON.parse(await page.locator("#panel pre").innerText());
    assert.deepEqual(shown.msg, bounce.msg);
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied").waitFor();
    const { _cursor, _received, ...copied } = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    assert.deepEqual(copied, bounce);
    assert.equal(typeof _cursor, "string");
    assert.equal(typeof _received, "number");
  });

  it("scrolls by the keys that scroll, and leaves the table where it is", async () => {
    const json = page.locator("#panel pre");
    const table = async () => [
      await page.locator("#selected-row").getAttribute("data-cursor"),
      await page.locator("#pause").getAttribute("aria-pressed"),
    ];
    const before = await table();
    await json.evaluate((element) => (element.style.maxHeight = "4em"));
    for (const key of ["ArrowDown", "PageDown", "Space"]) {
      await json.evaluate((element) => (element.scrollTop = 0));
      await json.press(key);
      await page.waitForFunction(() => document.querySelector("#panel pre").scrollTop > 0);
    }
    assert.deepEqual(await table(), before);
  });

  it("keeps what the reader has done in it when its other events come", async () => {
    let release;
    const released = new Promise((resolve) => (release = resolve));
    await page.route("**/api/messages/**", (route) => released.then(() => route.continue()));
    await visit.row("id", "other").click();
    await page.getByText("JSON: Sent").click();
    await page.getByRole("button", { name: "Copy" }).press("Enter");
    await page.getByText("Copied").waitFor();
    release();
    await page.locator("#panel", { hasText: "Looking for its other events" }).waitFor({ state: "detached" });
    assert.equal(await page.getByText("Copied").isVisible(), true);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Copy");
    await page.unroute("**/api/messages/**");
  });

  it("leads to the person's other events, and from there to the table", async () => {
    await visit.row("id", "other").click();
    await page.getByRole("button", { name: "This person’s events" }).click();
    await page.locator("#panel .timeline > li").nth(4).waitFor();
    assert.match(page.url(), /#recipient=Jane@example.com$/);
    assert.deepEqual(await page.locator("#panel .timeline .link").allInnerTexts(), ["Sent", "Delivered", "Sent", "Opened", "Clicked"]);
    await page.getByRole("button", { name: "Only this person in the table" }).click();
    await visit.count(5);
    await visit.press("x");
  });

  it("is a link that can be shared", async () => {
    const other = await Visit.to(service, browser, { fragment: "#message=story" });
    await other.page.locator("#panel .timeline > li").nth(3).waitFor();
    await other.close();
    const person = await Visit.to(service, browser, { fragment: "#recipient=jane@example.com" });
    await person.page.locator("#panel .timeline > li").nth(3).waitFor();
    await person.close();
  });

  it("is nothing where nothing is stored, and says so", async () => {
    const other = await Visit.to(service, browser, { fragment: "#message=never-sent" });
    await other.page.locator("#panel .note").waitFor();
    other.assertQuiet(service, { but: /404/ });
    await other.close();
  });

  it("was never complained about", () => visit.assertQuiet(service));
});
