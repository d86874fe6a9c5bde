// A service that wants to know who reads: the page asks for a token, keeps it for the tab, shows what it allows, and
// renews it while the session goes on.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { promisify } from "node:util";

import { program } from "./service.mjs";
import { Visit, event, onStage, wire } from "./visit.mjs";

const JWT_SECRET = "a secret that is long enough for HS256 and good for nothing else";

describe("signing in", { timeout: 120_000 }, () => {
  let service, browser, visit, page;

  onStage(async (stage) => {
    ({ service, browser } = stage);
    visit = await Visit.to(service, browser, { until: "unauthorized" });
    page = visit.page;
  }, { ALLOW_ANONYMOUS: "", JWT_SECRET });

  const token = async (...wishes) => {
    const { stdout } = await promisify(execFile)(program, ["token", ...wishes], { env: { ...process.env, JWT_SECRET } });
    return stdout.trim();
  };
  const dialog = (of = page) => of.getByRole("dialog", { name: "Sign in with a token" });
  const use = async (text) => {
    await page.getByRole("textbox", { name: "Access token" }).fill(text);
    await page.getByRole("button", { name: "Use it" }).click();
  };
  const post = (_id, tag) => service.post(wire(event("open", { _id, msg: { tags: [tag] } })));

  it("is asked for at once, and nothing is asked of the service that it would refuse", async () => {
    await dialog().waitFor();
    await page.getByText("A token is needed").waitFor();
    visit.assertQuiet(service);
  });

  it("takes no text that is no token, and says what is wrong with one that is not accepted", async () => {
    await use("this is no token");
    await page.getByRole("alert").filter({ hasText: "This is no token" }).waitFor();
    await use("eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
    await dialog().waitFor();
    await visit.state("unauthorized");
  });

  it("shows what the token allows, and only that", async () => {
    await use(await token("--filter", "tag=shop"));
    await visit.state("live");
    await page.locator("#access", { hasText: /Only tag shop, for \d+ min/ }).waitFor();
    await page.locator('#webhook[data-mood="unknown"]', { hasText: "Webhook: not shown to this token" }).waitFor();
    await page.locator("#webhook").click();
    await page.getByText("not shown to a token with a filter").waitFor();
    await visit.press("Escape");
    await post("hidden", "other");
    await post("shown", "shop");
    await visit.row("id", "shown").waitFor();
    await visit.count(1);
  });

  it("is kept for the tab only, and in no address", async () => {
    await page.reload();
    await visit.state("live");
    await visit.row("id", "shown").waitFor();
    assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage })).then((stored) => stored.includes("eyJ")), false);
    assert.ok(visit.addresses.every((address) => !address.includes("eyJ")));
    const other = await Visit.to(service, browser, { until: "unauthorized" });
    await dialog(other.page).waitFor();
    await other.close();
  });

  it("is renewed on the running session", async () => {
    const sockets = () => visit.addresses.filter((address) => address.startsWith("ws:")).length;
    const before = sockets();
    await page.locator("#access").click();
    await use(await token());
    await page.locator("#access", { hasText: "All events" }).waitFor();
    await post("seen-now", "other");
    await visit.row("id", "seen-now").waitFor();
    assert.equal(sockets(), before);
  });

  it("is asked for again when the token ends, and nothing is missed", async () => {
    await page.locator("#access").click();
    await use(await token("--ttl", "2s"));
    await visit.state("unauthorized");
    await dialog().waitFor();
    await post("meanwhile", "other");
    await use(await token());
    await visit.state("live", "catching-up");
    await visit.row("id", "meanwhile").waitFor();
    assert.equal(await visit.row("id", "seen-now").count(), 1);
  });

  it("was done without a word of complaint but the service's own refusals", () => visit.assertQuiet(service, { but: /401/ }));
});
