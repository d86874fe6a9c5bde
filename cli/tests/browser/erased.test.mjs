// Somebody is erased while the page is open: what it shows of that person goes, everything else stays.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { launch } from "./chromium.mjs";
import { Service } from "./service.mjs";
import { Visit, event, wire } from "./visit.mjs";

describe("a person who is erased", { timeout: 120_000 }, () => {
  const ann = "Ann@example.com";
  const bob = "bob@example.com";
  let service, browser;

  before(async () => {
    service = await Service.start();
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  const of = (email, _id) => event("hard_bounce", { _id, msg: { email, subject: `For ${email}` } });
  const erase = async (email) => {
    const answer = await fetch(`${service.origin}/api/erasures`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ email }),
    });
    assert.equal(answer.status, 200);
    return (await answer.json()).erased;
  };
  const says = (visit, text) => visit.page.evaluate((text) => document.body.innerText.includes(text), text);

  it("leaves the table, the panel and the toasts where a browser can hash, and the others stay", () => forgets("plain"));

  // Browsers hash addresses only where the page came encrypted or from this machine: elsewhere it asks anew.
  it("leaves them where a browser cannot", () =>
    forgets("other", (page) => page.addInitScript(() => Object.defineProperty(crypto, "subtle", { value: undefined }))));

  async function forgets(name, prepare) {
    const visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 }, prepare });
    await service.post(wire(of(bob, `${name}-b1`), of(ann, `${name}-a1`), of(bob, `${name}-b2`), of(ann, `${name}-a2`)));
    await visit.row("id", `${name}-a2`).waitFor();
    await visit.row("id", `${name}-a1`).click();
    // Under the mouse the table would rest.
    await visit.page.mouse.move(0, 0);
    await visit.panelSays(ann);
    assert.equal(await says(visit, ann), true);

    assert.equal(await erase(ann), 2);
    await visit.row("id", `${name}-a1`).waitFor({ state: "detached" });
    await visit.page.waitForFunction((ann) => !document.body.innerText.includes(ann), ann);
    await visit.row("id", `${name}-b1`).waitFor();
    await visit.row("id", `${name}-b2`).waitFor();

    // Nor does a key bring it back.
    await visit.press("Escape", "Enter");
    assert.equal(await visit.page.evaluate(() => location.hash), "");
    assert.equal(await visit.page.locator("#panel").isVisible(), false);

    // What comes later is shown.
    await service.post(wire(of(ann, `${name}-later`)));
    await visit.row("id", `${name}-later`).waitFor();
    await visit.page.reload();
    await visit.row("id", `${name}-later`).waitFor();
    assert.equal(await visit.row("id", `${name}-a1`).count(), 0);
    assert.equal(await erase(ann), 1);
    await visit.row("id", `${name}-later`).waitFor({ state: "detached" });
    // The panel asked once more for the message it had.
    visit.assertQuiet(service, { but: /404/ });
    await visit.close();
  }
});
