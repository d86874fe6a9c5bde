// The page in a real browser, against a real broker and the real program: what a person sees when
// Mandrill reports something.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { launch } from "./chromium.mjs";
import { Service, root } from "./service.mjs";

const fixture = (name) => readFileSync(join(root, "shared", "fixtures", `${name}.json`), "utf8");

/** JSON as Mandrill writes it. */
const wire = (...events) => JSON.stringify(events.map((event) => (typeof event === "string" ? JSON.parse(event) : event)))
  .replaceAll("/", "\\/");

describe("the live page", { timeout: 120_000 }, () => {
  let service, browser, page;
  const complaints = []; // of the browser's console
  const addresses = []; // that the page asked for

  before(async () => {
    service = await Service.start();
    browser = await launch();
    page = await browser.newPage();
    page.setDefaultTimeout(15_000);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => addresses.push(request.url()));
    page.on("websocket", (socket) => addresses.push(socket.url()));
    await page.goto(service.origin);
    await page.locator('#connection[data-state="live"]').waitFor().catch((error) => {
      throw new Error(`${error.message}\nThe console says: ${complaints.join("\n") || "nothing"}`);
    });
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
  });

  /** The row that shows this text in this column. */
  const row = (column, text) =>
    page.locator("#events tr[data-cursor]", { has: page.locator(`td[data-column="${column}"]`, { hasText: text }) });
  const cell = (of, column) => of.locator(`td[data-column="${column}"]`).innerText();

  it("shows a signed form POST as a row and a toast", async () => {
    const event = JSON.parse(fixture("message-hard-bounce"));
    const toast = page.locator("#toasts .toast", { hasText: event.msg.email }).first();
    const seen = toast.waitFor(); // before the POST: a toast goes away again

    assert.deepEqual(await service.post(wire(event)), { accepted: 1, duplicates: 0, rejected: 0 });

    await seen;
    const shown = row("id", event._id);
    await shown.waitFor();
    assert.match(await cell(shown, "event"), /hard.bounce/i);
    assert.match(await cell(shown, "state"), /bounced/i);
    assert.equal(await cell(shown, "email"), event.msg.email);
    assert.equal(await shown.count(), 1);
  });

  it("shows sync and inbound events, which have no id or state, and goes on", async () => {
    const sync = fixture("sync-blacklist-add");
    await service.post(wire(sync, fixture("sync-whitelist-remove"), fixture("inbound")));
    await service.post(wire(fixture("edge-inbound-without-msg"), fixture("edge-unknown-shape"), fixture("edge-unicode")));
    await service.post(wire(fixture("message-open")));

    await row("email", JSON.parse(sync).reject.email).waitFor();
    assert.match(await cell(row("email", JSON.parse(sync).reject.email), "event"), /blacklist/i);
    await row("email", "trusted2@example.com").waitFor();
    await row("email", JSON.parse(fixture("inbound")).msg.email).waitFor();
    await row("id", JSON.parse(fixture("message-open"))._id).waitFor();
  });

  it("shows what senders wrote as text, never as a part of the page", async () => {
    const markup = `<img src="/planted" onerror="document.title='planted'">`;
    const event = JSON.parse(fixture("message-click"));
    Object.assign(event.msg, { email: markup, state: markup, subject: markup });
    await service.post(wire({ ...event, event: "x<b>y</b>", _id: "planted" }));

    const shown = row("id", "planted");
    await shown.waitFor();
    assert.equal(await cell(shown, "email"), markup);
    assert.equal(await page.locator("#events img, #events b, #toasts img, #toasts b").count(), 0);
    assert.notEqual(await page.title(), "planted");
  });

  it("keeps what it showed over a reload", async () => {
    const id = JSON.parse(fixture("message-hard-bounce"))._id;
    const cursor = await row("id", id).getAttribute("data-cursor");
    await page.reload();
    await row("id", id).waitFor();
    assert.equal(await row("id", id).getAttribute("data-cursor"), cursor);
  });

  it("talked to the service alone, and the console stayed empty", () => {
    const hosts = new Set(addresses.map((address) => new URL(address)).filter((url) => url.protocol !== "data:").map((url) => url.host));
    assert.deepEqual([...hosts], [new URL(service.origin).host]);
    assert.deepEqual(complaints, []);
  });
});
