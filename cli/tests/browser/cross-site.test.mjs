// Pages of other sites in a real browser, and a service on this machine that takes unsigned batches and lets
// everybody read: what `make run` starts. Whatever such a page tries, nothing is stored and nothing is read.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";

import { launch } from "./chromium.mjs";
import { Service } from "./service.mjs";

const forged = JSON.stringify([{ event: "spam", _id: "forged", msg: { email: "victim@example.com" } }]);

describe("a page of another site", { timeout: 120_000 }, () => {
  let service, browser, site, evil;

  before(async () => {
    const unsigned = { MANDRILL_WEBHOOK_KEYS: "", MANDRILL_WEBHOOK_URLS: "", ALLOW_UNSIGNED: "true" };
    service = await Service.start(unsigned);
    // Every name of the other site leads to this machine, as its owner may decide at any time.
    // New browsers ask people before a page may reach this machine; older ones do not. A sandboxed frame in a
    // process of its own answers out of the test's sight.
    browser = await launch([
      "--host-resolver-rules=MAP *.example.net 127.0.0.1",
      "--disable-features=LocalNetworkAccessChecks,IsolateSandboxedIframes",
    ]);
    site = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html><title>x</title>"));
    await once(site.listen(0, "127.0.0.1"), "listening");
    evil = `http://evil.example.net:${site.address().port}`;
  });

  after(async () => {
    await browser?.close();
    site?.close();
    await service?.stop();
  });

  /** A page of the other site. */
  const open = async (url = evil) => {
    const page = await browser.newPage();
    page.setDefaultTimeout(15_000);
    await page.goto(url);
    return page;
  };

  /** What is stored: ids, oldest first, up to one that was posted as programs do. */
  const stored = async () => {
    const id = `marker-${Date.now()}`;
    const answer = await fetch(`${service.origin}/api/hook/`, {
      method: "POST",
      body: new URLSearchParams({ mandrill_events: JSON.stringify([{ event: "open", _id: id }]) }),
    });
    assert.equal(answer.status, 200, "a program may post");
    const page = await open(`${service.origin}/`);
    const ids = await page.evaluate(
      (last) =>
        new Promise((resolve, reject) => {
          const ids = [];
          const socket = new WebSocket(`ws://${location.host}/ws/email/?last=100`);
          socket.onclose = (close) => reject(new Error(`closed with ${close.code}`));
          socket.onmessage = (message) => ids.push(JSON.parse(message.data)._id) && ids.at(-1) === last && resolve(ids);
        }),
      id,
    );
    await page.close();
    return ids.filter((stored) => !stored.startsWith("marker-"));
  };

  for (const enctype of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]) {
    it(`posts a form (${enctype}) and is refused`, async () => {
      const page = await open();
      const answered = page.waitForResponse((response) => response.url().endsWith("/api/hook/"));
      await page.evaluate(
        ([action, enctype, value]) => {
          const form = Object.assign(document.createElement("form"), { method: "post", action, enctype });
          form.append(Object.assign(document.createElement("input"), { name: "mandrill_events", value }));
          document.body.append(form);
          form.submit();
        },
        [`${service.origin}/api/hook/`, enctype, forged],
      );
      assert.equal((await answered).status(), 403);
      await page.close();
      assert.deepEqual(await stored(), []);
    });
  }

  it("posts from a sandboxed frame, whose origin is null, and is refused", async () => {
    const page = await open();
    const answered = page.waitForResponse((response) => response.url().endsWith("/api/hook/"));
    await page.evaluate(
      ([action, value]) => {
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-forms allow-scripts";
        frame.srcdoc = `<form method=post action="${action}"><input name=mandrill_events></form><script>
          document.querySelector("input").value = ${JSON.stringify(value)}; document.querySelector("form").submit()</script>`;
        document.body.append(frame);
      },
      [`${service.origin}/api/hook/`, forged],
    );
    assert.equal((await answered).status(), 403);
    await page.close();
    assert.deepEqual(await stored(), []);
  });

  it("fetches without asking and posts nothing, and reads no answer", async () => {
    const page = await open();
    const tried = await page.evaluate(
      async ([origin, value]) => {
        const form = new URLSearchParams({ mandrill_events: value });
        const blind = await fetch(`${origin}/api/hook/`, { method: "POST", mode: "no-cors", body: form });
        const said = (error) => error.name;
        return {
          blind: blind.type,
          read: await fetch(`${origin}/api/status`).then((answer) => answer.status, said),
          json: await fetch(`${origin}/api/hook/`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: `{"mandrill_events":${value}}`,
          }).then((answer) => answer.status, said),
        };
      },
      [service.origin, forged],
    );
    assert.deepEqual(tried, { blind: "opaque", read: "TypeError", json: "TypeError" });
    await page.close();
    assert.deepEqual(await stored(), []);
  });

  it("opens a socket and is closed with 4403", async () => {
    const page = await open();
    const code = await page.evaluate((address) => {
      const socket = new WebSocket(address);
      return new Promise((resolve) => {
        socket.onmessage = (message) => resolve(message.data);
        socket.onclose = (close) => resolve(close.code);
      });
    }, `${service.origin.replace("http:", "ws:")}/ws/email/?last=100`);
    assert.equal(code, 4403);
    await page.close();
  });

  it("leads its own name here and still is refused", async () => {
    // The page came from its own server; from now on its name is this machine's.
    const rebound = `http://rebound.example.net:${new URL(service.origin).port}`;
    const page = await browser.newPage();
    await page.route(`${rebound}/`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
    await page.goto(`${rebound}/`);
    const tried = await page.evaluate(async (value) => {
      const form = new URLSearchParams({ mandrill_events: value });
      const posted = await fetch("/api/hook/", { method: "POST", body: form });
      const read = await fetch("/api/status");
      const socket = new WebSocket(`ws://${location.host}/ws/email/?last=100`);
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      });
      return { posted: posted.status, read: read.status, opened };
    }, forged);
    assert.deepEqual(tried, { posted: 421, read: 421, opened: false });
    await page.close();
    assert.deepEqual(await stored(), []);
  });
});
