// How the page looks to whoever comes: a phone, the dark, a screen reader, a keyboard alone; and with axe, the checker
// of accessibility.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, it } from "node:test";

import { Visit, event, fixture, onStage, wire } from "./visit.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 360, height: 740 };

describe("the page's looks", { timeout: 180_000 }, () => {
  let service, browser;

  onStage((stage) => ({ service, browser } = stage));

  /** What axe has to say; the page's own policy lets no script in, so that the browser's protocol brings it. */
  const violations = async ({ page }) => {
    await page.evaluate(AXE);
    const { violations } = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: "tag", values } }), STANDARDS);
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`);
  };
  const isClean = async (visit, what) => assert.deepEqual(await violations(visit), [], what);
  const everyKind = () => ["send", "reject", "deferral", "delivered", "soft_bounce", "hard_bounce", "open", "click", "spam", "unsub", "inbound", "new_kind"]
    .map((kind) => event(kind, { msg: { tags: ["a", "b"], diag: "550 5.1.1 no" } }));
  const sticksOut = ({ page }) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

  it("has nothing that axe objects to while it is empty, in light and in dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const visit = await Visit.to(service, browser, { viewport: DESKTOP, colorScheme });
      await visit.page.locator("#empty").waitFor();
      await isClean(visit, colorScheme);
      await visit.close();
    }
  });

  for (const [name, options] of Object.entries({
    "light": { viewport: DESKTOP, colorScheme: "light" },
    "dark": { viewport: DESKTOP, colorScheme: "dark" },
    "a phone": { viewport: PHONE, hasTouch: true, isMobile: true },
    "a phone in the dark": { viewport: PHONE, hasTouch: true, isMobile: true, colorScheme: "dark" },
  })) {
    it(`has nothing that axe objects to with every kind of event, the panel and each dialog open, on ${name}`, async () => {
      const visit = await Visit.to(service, browser, { ...options, reducedMotion: "reduce" });
      await service.post(wire(...everyKind(), { ...fixture("message-hard-bounce"), _id: `bounce on ${name}` }));
      await visit.row("email", fixture("message-hard-bounce").msg.email).first().waitFor();
      await isClean(visit, "the table");
      assert.ok((await sticksOut(visit)) <= 0);

      await visit.row("email", fixture("message-hard-bounce").msg.email).first().click();
      await visit.panelSays("The address does not exist");
      await visit.page.locator("#panel summary").first().click();
      await isClean(visit, "the panel");
      assert.ok((await sticksOut(visit)) <= 0);
      await visit.press("Escape");

      await visit.press("/");
      await visit.page.keyboard.type("e");
      await visit.page.locator("#suggestions [role=option]").first().waitFor();
      await isClean(visit, "suggestions");
      await visit.press("ArrowDown", "Enter");
      await visit.page.locator("#chips li").waitFor();
      await isClean(visit, "a filter");
      await visit.page.locator("#grid").focus();

      for (const key of ["w", "e", "s", "?"]) {
        await visit.press(key);
        await visit.page.locator("dialog[open]").waitFor();
        await isClean(visit, `the dialog of ${key}`);
        await visit.press("Escape");
      }
      await visit.close();
    });
  }

  it("shows on a phone what a row is about, whole, and opens it with a tap", async () => {
    const visit = await Visit.to(service, browser, { viewport: PHONE, hasTouch: true, isMobile: true });
    await service.post(wire(event("spam", { _id: "phone", msg: { email: "someone@example.com" } })));
    const row = visit.row("email", "someone@example.com").first();
    await row.waitFor();
    for (const column of ["time", "event", "email"]) {
      const fits = await row.locator(`[data-column="${column}"]`).evaluate((cell) => cell.scrollWidth <= cell.clientWidth && cell.getBoundingClientRect().right <= innerWidth);
      assert.ok(fits, column);
    }
    await row.tap();
    await visit.panelSays("Complaint");
    assert.equal(await visit.page.locator("#panel").evaluate((panel) => panel.getBoundingClientRect().width), PHONE.width);
    await visit.page.getByRole("button", { name: "Close" }).tap();
    assert.equal(await visit.page.locator("#panel").isVisible(), false);
    await visit.close();
  });

  it("is dark where the system is, or where the reader says so", async () => {
    const brightness = ({ page }) => page.evaluate(() => {
      const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      context.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
      context.fillRect(0, 0, 1, 1);
      return context.getImageData(0, 0, 1, 1).data[0];
    });
    const dark = await Visit.to(service, browser, { colorScheme: "dark" });
    assert.ok((await brightness(dark)) < 60);
    await dark.close();
    const light = await Visit.to(service, browser, { colorScheme: "light" });
    assert.ok((await brightness(light)) > 200);
    await light.press("s");
    await light.page.getByRole("radio", { name: "Dark" }).check();
    assert.ok((await brightness(light)) < 60);
    await light.close();
  });

  it("is worked with the keyboard alone: every control is reached, and says that it is", async () => {
    const visit = await Visit.to(service, browser, { viewport: DESKTOP });
    await visit.rows.first().waitFor();
    const reached = new Set();
    for (let step = 0; step < 60; step++) {
      await visit.press("Tab");
      const [name, seen] = await visit.page.evaluate(() => {
        const element = document.activeElement;
        return [element.id || element.dataset.kind || element.tagName, getComputedStyle(element).outlineStyle !== "none" || element === document.body];
      });
      assert.ok(seen, `${name} shows no focus`);
      reached.add(name);
    }
    for (const name of ["webhook", "pause", "open-export", "open-settings", "open-help", "window", "hard_bounce", "find", "grid"]) assert.ok(reached.has(name), name);
    await visit.press("?");
    assert.match(await visit.page.getByRole("dialog", { name: "Keyboard" }).innerText(), /Search and filter/);
    await visit.close();
  });

  /** A page that can be hidden, and tells which notifications were made; some browsers let no page make one. */
  const hideable = (refuses) => async (page, context) => {
    await context.grantPermissions(["notifications"]);
    await page.addInitScript((refuses) => {
      globalThis.notified = [];
      globalThis.Notification = class {
        static permission = "granted";
        static requestPermission = async () => "granted";
        constructor(title, options) {
          globalThis.notified.push([title, options.body]);
          if (refuses) throw new TypeError("Illegal constructor");
        }
      };
      let hidden = false;
      Object.defineProperty(document, "hidden", { get: () => hidden });
      globalThis.hide = (value) => {
        hidden = value;
        document.dispatchEvent(new Event("visibilitychange"));
      };
    }, refuses);
  };

  it("tells of what alarms on the tab while it is hidden, and notifies of what was chosen", async () => {
    const visit = await Visit.to(service, browser, { prepare: hideable(false) });
    await visit.press("s");
    await visit.page.getByRole("checkbox", { name: "Hard bounces" }).check();
    await visit.press("Escape");
    await visit.page.evaluate(() => globalThis.hide(true));
    await service.post(wire(event("hard_bounce", { _id: "alarm" }), event("spam"), event("open")));
    await visit.page.waitForFunction(() => document.title.startsWith("(2)"));
    assert.match(await visit.page.locator("link[rel=icon]").getAttribute("href"), /^data:image\/svg/);
    await visit.page.waitForFunction(() => globalThis.notified.length > 0);
    assert.deepEqual(await visit.page.evaluate(() => globalThis.notified), [["Hard bounce", "alarm@example.com"]]);
    await visit.page.evaluate(() => globalThis.hide(false));
    assert.equal(await visit.page.title(), "mandrill-live");
    visit.assertQuiet(service);
    await visit.close();
  });

  it("says so where the browser lets no page notify", async () => {
    const visit = await Visit.to(service, browser, { prepare: hideable(true) });
    await visit.press("s");
    await visit.page.getByRole("checkbox", { name: "Hard bounces" }).check();
    await visit.press("Escape");
    await visit.page.evaluate(() => globalThis.hide(true));
    await service.post(wire(event("hard_bounce")));
    await visit.page.waitForFunction(() => globalThis.notified.length > 0);
    await visit.page.evaluate(() => globalThis.hide(false));
    await visit.press("s");
    await visit.page.getByText("This browser has no notifications for pages.").waitFor();
    visit.assertQuiet(service);
    await visit.close();
  });
});
