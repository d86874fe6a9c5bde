// Every field is a stranger's: it is shown as text, never executed, and never breaks the layout.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, fixture, onStage, wire } from "./visit.mjs";

const MARKUP = `<img src="/planted" onerror="document.title='planted'">`;
const RIGHT_TO_LEFT = "\u202Egnp.exe\u202C \u2066x\u2069 \u05E9\u05DC\u05D5\u05DD";

describe("hostile events", { timeout: 120_000 }, () => {
  let service, browser, visit, page;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 } });
    page = visit.page;
  });

  /** Nothing sticks out, and every row is as high as another. */
  const layoutHolds = async () => {
    const [scrolls, heights] = await page.evaluate(() => [
      document.documentElement.scrollWidth > innerWidth,
      [...new Set([...document.querySelectorAll("#events [role=row]")].map((row) => row.offsetHeight))],
    ]);
    assert.equal(scrolls, false);
    assert.equal(heights.length, 1, `${heights}`);
  };
  const nothingPlanted = async () => {
    assert.notEqual(await page.title(), "planted");
    assert.equal(await page.locator("#events img, #panel img, #toasts img, #chips img, #events b, #events script").count(), 0);
    assert.ok(!visit.addresses.some((address) => new URL(address).pathname === "/planted"));
  };

  it("with markup in every field are text in the table, the toast, the panel and the chips", async () => {
    const msg = { ...fixture("message-click").msg, email: MARKUP, state: MARKUP, subject: MARKUP, sender: MARKUP, tags: [MARKUP], diag: MARKUP,
      metadata: { [MARKUP]: MARKUP }, template: MARKUP, subaccount: MARKUP };
    await service.post(wire({ ...fixture("message-click"), event: "x<b>y</b>", _id: "planted", url: MARKUP, user_agent_parsed: { ua_name: MARKUP }, location: { city: MARKUP }, msg }));
    const shown = visit.row("email", MARKUP).first();
    await shown.waitFor();
    assert.equal(await visit.cell(shown, "email"), MARKUP);
    assert.equal(await visit.cell(shown, "event"), "x<b>y</b>");
    await shown.click();
    await visit.panelSays(MARKUP);
    await page.locator("#panel summary").first().click();
    await page.locator("#panel .tag").click();
    await page.locator("#chips li", { hasText: "onerror" }).waitFor();
    await visit.count(1);
    await nothingPlanted();
    await layoutHolds();
    await visit.press("Escape");
    await page.locator("#grid").focus();
    await visit.press("x");
  });

  it("with fields of a megabyte keep the page at work", async () => {
    const huge = "x".repeat(1_000_000);
    await service.post(wire(event("soft_bounce", { _id: "huge", msg: { email: huge, subject: huge, state: huge, tags: [huge], diag: huge } })));
    await visit.row("id", "huge").waitFor();
    await layoutHolds();
    await visit.row("id", "huge").click();
    await visit.panelSays("Soft bounce");
    await page.getByText("JSON: Soft bounce").click();
    assert.ok((await page.locator("#panel pre").innerText()).length < 300_000);
    await layoutHolds();
    await visit.press("Escape");
  });

  it("with marks of other directions do not turn their neighbours around", async () => {
    await service.post(wire(event("open", { _id: "rtl", msg: { email: `${RIGHT_TO_LEFT}@example.com`, subject: RIGHT_TO_LEFT } })));
    const shown = visit.row("id", "rtl");
    await shown.waitFor();
    const lefts = await shown.locator("[data-column]").evaluateAll((cells) => cells.map((cell) => cell.getBoundingClientRect().left));
    assert.deepEqual(lefts, [...lefts].sort((a, b) => a - b));
    assert.equal(await visit.cell(shown, "id"), "rtl");
    await layoutHolds();
  });

  it("of wrong types, or missing everything, are rows, and the page goes on", async () => {
    const odd = [{ event: "open", msg: [] }, { event: "open", _id: 7, ts: "soon", msg: { email: {}, tags: "x", subject: 0 } }, { event: "click", url: [], location: "x", user_agent_parsed: [], msg: null },
      { event: "hard_bounce", msg: { diag: 7, smtp_events: {}, metadata: [1] } }, {}, { type: "blacklist" }, { event: "" }];
    await service.post(wire(...odd, fixture("edge-unknown-shape"), fixture("edge-inbound-without-msg"), event("open", { _id: "after-the-odd" })));
    await visit.row("id", "after-the-odd").waitFor();
    for (const row of await visit.rows.all()) {
      await row.click();
      await page.locator("#panel-body > *").first().waitFor();
    }
    await layoutHolds();
    await nothingPlanted();
  });

  it("in the address bar are nothing", async () => {
    const other = await Visit.to(service, browser, { fragment: `#event=${encodeURIComponent(MARKUP)}&search=%3Cscript%3E&message=..%2F..%2Fapi%2Fstatus` });
    assert.notEqual(await other.page.title(), "planted");
    assert.equal(await other.page.locator("img:not(h1 img)").count(), 0);
    await other.close();
  });

  it("did nothing but be shown", () => visit.assertQuiet(service, { but: /404|400/ }));
});
