// A reader in front of the page: opens it, finds things as a person does, and remembers what the browser complained of
// and whom it talked to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before } from "node:test";
import { join } from "node:path";

import { launch } from "./chromium.mjs";
import { Service, root } from "./service.mjs";

/** For anything to appear. A loaded machine needs long; nothing is asserted about speed. */
const PATIENCE_MS = 20_000;

export const fixture = (name) => JSON.parse(readFileSync(join(root, "shared", "fixtures", `${name}.json`), "utf8"));

/** JSON as Mandrill writes it. */
export const wire = (...events) => JSON.stringify(events).replaceAll("/", "\\/");

/**
 * What a suite begins with: a service with these variables on top of its own, and a browser; both are gone after its
 * last test. `begin` does the rest of it.
 */
export function onStage(begin, variables = {}) {
  const stage = {};
  before(async () => {
    stage.service = await Service.start(variables);
    stage.browser = await launch();
    await begin(stage);
  });
  after(async () => {
    await stage.browser?.close();
    await stage.service?.stop();
  });
}

let made = 0;

/** A message's event, as small as it can be; each call is another message unless `_id` says which. */
export function event(kind, { _id = `message-${(made += 1)}`, ts = Math.floor(Date.now() / 1000), msg = {}, ...more } = {}) {
  return { event: kind, _id, ts, ...more, msg: { _id, email: `${_id}@example.com`, subject: `Subject of ${_id}`, tags: [], state: "sent", ...msg } };
}

export class Visit {
  complaints = [];
  addresses = [];

  /** @param more options of a page, as playwright has them */
  static async to(service, browser, { fragment = "", prepare = async () => {}, until = "live", ...more } = {}) {
    const visit = new Visit();
    visit.context = await browser.newContext(more);
    const page = (visit.page = await visit.context.newPage());
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && visit.complaints.push(message.text()));
    page.on("pageerror", (error) => visit.complaints.push(String(error)));
    page.on("request", (request) => visit.addresses.push(request.url()));
    page.on("websocket", (socket) => visit.addresses.push(socket.url()));
    await prepare(page, visit.context);
    await page.goto(service.origin + fragment);
    if (until) await visit.state(until);
    return visit;
  }

  /** Waits until the connection is said to be so. */
  async state(...names) {
    const wanted = names.map((name) => `#connection[data-state="${name}"]`).join(", ");
    await this.page.locator(wanted).waitFor().catch((error) => {
      throw new Error(`${error.message}\nThe console says: ${this.complaints.join("\n") || "nothing"}`);
    });
  }

  get rows() {
    return this.page.locator("#events [role=row]");
  }

  /** The rows that show this text in this column. */
  row(column, text) {
    return this.rows.filter({ has: this.page.locator(`[data-column="${column}"]`, { hasText: text }) });
  }

  cell(row, column) {
    return row.locator(`[data-column="${column}"]`).innerText();
  }

  /** Waits until the table has so many events, in sight or not. */
  async count(events) {
    await this.page.locator(`#grid[aria-rowcount="${events + 1}"]`).waitFor({ state: "attached" });
  }

  /** The addresses in sight, from the top. */
  async emails() {
    return this.page.locator('#events [data-column="email"]').allInnerTexts();
  }

  async press(...keys) {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Waits until this text is somewhere in the panel. */
  async panelSays(text) {
    await this.page.locator("#panel", { hasText: text }).waitFor();
  }

  /** Nothing failed, and nobody else was asked for anything. */
  assertQuiet(service, { but = /^$/ } = {}) {
    const urls = this.addresses.map((address) => new URL(address)).filter((url) => !["data:", "blob:"].includes(url.protocol));
    assert.deepEqual([...new Set(urls.map((url) => url.host))], [new URL(service.origin).host]);
    assert.deepEqual(this.complaints.filter((complaint) => !but.test(complaint)), []);
  }

  close() {
    return this.context.close();
  }
}
