// The page in a real browser, against a real broker and the real program: what a person sees when Mandrill reports
// something.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, fixture, onStage, wire } from "./visit.mjs";

describe("the live page", { timeout: 120_000 }, () => {
  let service, browser, visit;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    // So high that all rows are in sight, and so in the document.
    visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 3000 } });
  });

  it("says how to send a first event and how to register the webhook, while there is none", async () => {
    const empty = visit.page.locator("#empty");
    await empty.waitFor();
    for (const text of ["make demo", `${service.origin}/api/hook/`, "MANDRILL_WEBHOOK_URLS", "MANDRILL_WEBHOOK_KEYS"]) {
      assert.ok((await empty.innerText()).includes(text), text);
    }
  });

  it("shows a signed form POST as a row and a toast", async () => {
    const bounce = fixture("message-hard-bounce");
    const toast = visit.page.locator("#toasts .toast", { hasText: bounce.msg.email }).first();
    const seen = toast.waitFor(); // before the POST: a toast goes away again

    assert.deepEqual(await service.post(wire(bounce)), { accepted: 1, duplicates: 0, rejected: 0 });

    await seen;
    const shown = visit.row("id", bounce._id);
    await shown.waitFor();
    assert.equal(await visit.cell(shown, "event"), "Hard bounce");
    assert.equal(await visit.cell(shown, "state"), "bounced");
    assert.equal(await visit.cell(shown, "email"), bounce.msg.email);
    assert.equal(await visit.cell(shown, "subject"), bounce.msg.subject);
    assert.equal(await visit.cell(shown, "tags"), bounce.msg.tags.join(", "));
    assert.equal(await shown.count(), 1);
    assert.equal(await visit.page.locator("#empty").isVisible(), false);
  });

  it("shows sync and inbound events, which have no id or state, and goes on", async () => {
    const sync = fixture("sync-blacklist-add");
    await service.post(wire(sync, fixture("sync-whitelist-remove"), fixture("inbound")));
    await service.post(wire(fixture("edge-inbound-without-msg"), fixture("edge-unknown-shape"), fixture("edge-unicode")));
    await service.post(wire(fixture("message-open")));

    await visit.row("email", sync.reject.email).waitFor();
    assert.equal(await visit.cell(visit.row("email", sync.reject.email), "event"), "sync blacklist add");
    await visit.row("email", "trusted2@example.com").waitFor();
    await visit.row("email", fixture("inbound").msg.email).waitFor();
    await visit.row("id", fixture("message-open")._id).waitFor();
  });

  it("has the newest on top", async () => {
    await service.post(wire(event("send", { _id: "older" })));
    await service.post(wire(event("send", { _id: "newer" })));
    await visit.row("id", "newer").waitFor();
    assert.deepEqual((await visit.emails()).slice(0, 2), ["newer@example.com", "older@example.com"]);
  });

  it("groups toasts when many events come at once, names what alarms first, and is rid of them when asked", async () => {
    const shared = visit.page.locator('#toasts .toast[data-kind="group"]');
    await service.post(wire(...Array.from({ length: 30 }, () => event("open")), event("spam")));
    await shared.waitFor();
    await visit.page.locator("#toasts .toast", { hasText: /1\sComplaint · / }).waitFor();
    assert.ok((await visit.page.locator("#toasts .toast").count()) <= 1);

    await visit.press("s");
    await visit.page.getByRole("switch", { name: "Toasts for new events" }).uncheck();
    await visit.press("Escape");
    await visit.page.mouse.move(640, 20); // Under the pointer, the table would rest.
    await service.post(wire(event("open", { _id: "untoasted" })));
    await visit.row("id", "untoasted").waitFor();
    assert.equal(await visit.page.locator("#toasts .toast").count(), 0);
  });

  it("keeps what it showed, and what was set, over a reload", async () => {
    const row = visit.row("id", fixture("message-hard-bounce")._id);
    const cursor = await row.getAttribute("data-cursor");
    await visit.page.reload();
    await row.waitFor();
    assert.equal(await row.getAttribute("data-cursor"), cursor);
    await visit.press("s");
    assert.equal(await visit.page.getByRole("switch", { name: "Toasts for new events" }).isChecked(), false);
    await visit.press("Escape");
  });

  it("keeps nothing of any event in the browser", async () => {
    const stored = await visit.page.evaluate(() => JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + document.cookie);
    assert.doesNotMatch(stored, /example\.com|bounce|Subject/);
  });

  it("says when the last batch came, and that one was refused, why, and with which URLs tried", async () => {
    await visit.page.locator("#webhook", { hasText: /Last batch/ }).waitFor();
    assert.equal(await service.postBadly(wire(event("open"))), 401);
    await visit.page.locator("#webhook[data-mood=bad]", { hasText: /refused.*signature/i }).waitFor();
    await visit.press("w");
    const dialog = visit.page.getByRole("dialog", { name: "The webhook" });
    await dialog.getByText(/Last refusal/).waitFor();
    assert.ok((await dialog.innerText()).includes(service.signing.MANDRILL_WEBHOOK_URLS));
    assert.match(await dialog.innerText(), /1 × signature/);
    await visit.press("Escape");
  });

  it("leaves a URL that is selected in what the webhook says selected, while the rest of it changes", async () => {
    const url = service.signing.MANDRILL_WEBHOOK_URLS;
    await visit.press("w");
    const dialog = visit.page.getByRole("dialog", { name: "The webhook" });
    await dialog.locator("li code", { hasText: url }).evaluate((code) => getSelection().selectAllChildren(code));
    for (let times = 2; times < 4; times++) {
      assert.equal(await service.postBadly(wire(event("open"))), 401);
      await dialog.getByText(`${times} × signature`).waitFor();
    }
    assert.equal(await visit.page.evaluate(() => getSelection().toString()), url);
    await visit.press("Escape");
  });

  it("talked to the service alone, and the console stayed empty", () => visit.assertQuiet(service));
});
