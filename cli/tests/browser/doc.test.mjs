// Swagger UI at /doc in a real browser, over the running services: what a person can read there and try.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { onStage } from "./visit.mjs";

describe("the document of the interface", { timeout: 180_000 }, () => {
  let service, browser, page;
  const complaints = []; // of the browser's console
  const addresses = []; // that the page asked for

  onStage(async (stage) => {
    ({ service, browser } = stage);
    page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => addresses.push(request.url()));
    await page.goto(`${service.origin}/redoc/`); // leads to /doc
    await page.locator(".opblock").first().waitFor().catch((error) => {
      throw new Error(`${error.message}\nThe console says: ${complaints.join("\n") || "nothing"}`);
    });
  });

  const operation = (method, path) =>
    page.locator(`.opblock-${method}`, { has: page.locator(`.opblock-summary-path[data-path="${path}"]`) });

  /** Opens an operation, tries it, and returns the status and the body it is shown to be answered with. */
  async function attempt(method, path, prepare = async () => {}) {
    const block = operation(method, path);
    await block.locator(".opblock-summary-control").click();
    // Operations with a body may be open for trying from the start.
    const [toTry, execute] = ["Try it out", "Execute"].map((name) => block.getByRole("button", { name }));
    await toTry.or(execute).first().waitFor();
    if (await toTry.isVisible()) await toTry.click();
    await prepare(block);
    await execute.click();
    const answer = block.locator(".live-responses-table tbody tr.response");
    await answer.waitFor();
    const status = await answer.locator(".response-col_status").first().innerText();
    const body = await answer.locator(".response-col_description").first().innerText();
    return { status: Number.parseInt(status, 10), body };
  }

  it("lists every operation there is", async () => {
    const document = await fetch(`${service.origin}/schema/openapi.json`).then((answer) => answer.json());
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
    const shown = await page.locator(".opblock-summary").evaluateAll((summaries) => summaries.map((summary) =>
      `${summary.querySelector(".opblock-summary-method").textContent} ` +
      `${summary.querySelector(".opblock-summary-path").dataset.path}`));
    assert.deepEqual(shown.sort(), operations.sort());
  });

  it("tries an endpoint, and sends no filter that was only an example", async () => {
    const { status, body } = await attempt("get", "/api/status");
    assert.equal(status, 200);
    assert.match(body, /"state": "live"/);
    const listed = await attempt("get", "/api/events/");
    assert.equal(listed.status, 200);
    const url = addresses.findLast((address) => address.includes("/api/events/"));
    assert.equal(new URL(url).search, "?limit=100");
  });

  it("has a box for the token, and stores nothing", async () => {
    await page.getByRole("button", { name: "Authorize" }).click();
    const dialog = page.locator(".dialog-ux");
    await dialog.locator("input").fill("a.token.of-nobody");
    await dialog.getByRole("button", { name: "Apply credentials" }).click();
    await dialog.getByRole("button", { name: "Close", exact: true }).click();
    const sent = page.waitForRequest((request) => request.url().endsWith("/api/me"));
    await attempt("get", "/api/me");
    assert.equal((await sent).headers().authorization, "Bearer a.token.of-nobody");
    // The console says that an answer was not 2xx: that is what was asked for here.
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !/status of 40[01]/.test(text)));
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""]);
  });

  it("signs a batch for the webhook, as a form and as JSON, in the page alone", async () => {
    await page.locator("#signing summary").click();
    await page.locator("#signing-url").fill(service.signing.MANDRILL_WEBHOOK_URLS);
    await page.locator("#signing-key").fill(service.signing.MANDRILL_WEBHOOK_KEYS);
    const form = await attempt("post", "/api/hook/");
    assert.deepEqual([form.status, /"accepted": 1/.test(form.body)], [200, true], form.body);
    const json = await attempt("post", "/api/mandrill/hook/", (block) =>
      block.locator(".body-param-content-type select, .opblock-section-request-body select.content-type").first()
        .selectOption("application/json"));
    assert.deepEqual([json.status, /"rejected": 0/.test(json.body)], [200, true], json.body);
    const key = service.signing.MANDRILL_WEBHOOK_KEYS;
    assert.ok(!addresses.some((address) => address.includes(key)), "the key is part of no request");
  });

  it("says that what does not end cannot be tried", async () => {
    const block = operation("get", "/api/events/stream");
    await block.locator(".opblock-summary-control").click();
    await block.locator(".opblock-body").waitFor();
    assert.equal(await block.getByRole("button", { name: "Try it out" }).count(), 0);
  });

  it("talked to the service alone, and the console stayed empty", () => {
    const hosts = addresses.map((address) => new URL(address)).filter((url) => url.protocol !== "data:").map((url) => url.host);
    assert.deepEqual([...new Set(hosts)], [new URL(service.origin).host]);
    assert.deepEqual(complaints, []);
  });
});
