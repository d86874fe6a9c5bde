// The connection as a reader lives through it: the server goes and comes, the broker falls silent, a proxy lets no
// WebSocket through.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Visit, event, onStage, wire } from "./visit.mjs";

/** What the browser itself says of a server that is not there. */
const UNREACHABLE = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|503|WebSocket connection/;

describe("the connection", { timeout: 180_000 }, () => {
  let service, browser;

  onStage((stage) => ({ service, browser } = stage));

  const numbered = (from, to) => Array.from({ length: to - from }, (_, at) => event("open", { _id: `n${from + at}` }));
  const ids = async (visit) => (await visit.emails()).map((email) => email.split("@")[0]);
  const expected = (to) => Array.from({ length: to }, (_, at) => `n${to - 1 - at}`);

  it("is told as it is while the server is away, and loses and doubles no row when it is back", async () => {
    const visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 2000 } });
    await service.post(wire(...numbered(0, 10)));
    await visit.row("id", "n9").waitFor();

    await service.kill();
    await visit.state("reconnecting");
    await visit.page.getByText(/Not connected. Retrying in \d+ s/).waitFor();
    await visit.page.getByRole("button", { name: "Retry now" }).waitFor();

    await service.restart();
    await service.post(wire(...numbered(10, 20)));
    await visit.state("live", "catching-up");
    await visit.row("id", "n19").waitFor();
    assert.deepEqual(await ids(visit), expected(20));
    visit.assertQuiet(service, { but: UNREACHABLE });
    await visit.close();
  });

  it("moves when the server drains, before it is cut, and loses and doubles no row", async () => {
    const visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 2400 } });
    await visit.row("id", "n19").waitFor();
    await service.restart();
    await service.post(wire(...numbered(20, 30)));
    await visit.state("live", "catching-up");
    await visit.row("id", "n29").waitFor();
    assert.deepEqual(await ids(visit), expected(30));
    await visit.close();
  });

  it("counts what it catches up with", async () => {
    const told = [];
    const visit = await Visit.to(service, browser);
    await visit.page.exposeFunction("told", (text) => told.push(text));
    await visit.page.evaluate(() => {
      const output = document.querySelector("#connection");
      new MutationObserver(() => globalThis.told(output.textContent)).observe(output, { subtree: true, childList: true, characterData: true });
    });
    await service.post(wire(event("open")));
    await visit.count(31);
    await visit.context.setOffline(true);
    await service.kill();
    await visit.state("reconnecting");
    await service.restart();
    for (let batch = 0; batch < 3; batch++) await service.post(wire(...Array.from({ length: 1_000 }, () => event("open"))));
    const missed = Date.now();
    // What is missed has to be older than what is live.
    await visit.page.waitForFunction((since) => Date.now() - since > 2_500, missed);
    await visit.context.setOffline(false);
    await visit.count(3_031);
    await visit.state("live");
    assert.ok(told.some((text) => /^Catching up: [\d,]+ events?$/.test(text)), told.join("\n"));
    await visit.close();
  });

  it("says when the server does not hear its broker, and when it does again", async () => {
    const visit = await Visit.to(service, browser);
    service.freeze();
    await visit.state("stalled");
    await visit.page.getByText("Broker silent").waitFor();
    service.thaw();
    await visit.state("live");
    await visit.close();
  });

  it("goes over HTTP where a proxy lets no WebSocket through, says so, and misses nothing", async () => {
    // A proxy that knows no WebSocket answers the handshake with something else: a socket then closes without a word.
    const blocked = async (page) => {
      await page.addInitScript(() => {
        globalThis.WebSocket = class {
          constructor() {
            setTimeout(() => this.onclose?.({ code: 1006, reason: "" }), 20);
          }
          close() {}
        };
      });
    };
    const visit = await Visit.to(service, browser, { prepare: blocked });
    await visit.page.getByText("Live over HTTP").waitFor();
    await service.post(wire(event("click", { _id: "over-http" })));
    await visit.row("id", "over-http").waitFor();
    assert.equal(await visit.row("id", "over-http").count(), 1);
    await visit.close();
  });
});
