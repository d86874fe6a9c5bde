// Takes the pictures of the running page that the README shows: `node screenshots.mjs docs/screenshots`, relative to the
// repository. Always of the same people, with the page at work.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

import { launch } from "./chromium.mjs";
import { Service, program, root } from "./service.mjs";
import { Visit, event, fixture, wire } from "./visit.mjs";

const [target] = process.argv.slice(2);
if (!target) throw new Error("say where the pictures go: node screenshots.mjs docs/screenshots");
const folder = resolve(root, target);
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const EVENTS = 1_000; // enough that messages sent at the start are opened and clicked
const SEED = 117;
const BATCH = 3;
const PAUSE_MS = 100; // so that they are spread over some of the chart's steps
/** What a machine without fonts for all the world would show as boxes. */
const NEEDS_FONTS = /[\u3000-\u9fff\uac00-\ud7af]|\p{Emoji_Presentation}/u;

/** What `mandrill-live send` makes up, without sending it anywhere. */
async function madeUp() {
  const events = [];
  const hook = createServer(async (request, answer) => {
    const batch = JSON.parse(new URLSearchParams(await text(request)).get("mandrill_events"));
    events.push(...batch);
    answer.setHeader("Content-Type", "application/json");
    answer.end(JSON.stringify({ accepted: batch.length, duplicates: 0, rejected: 0 }));
  }).listen(0, "127.0.0.1");
  await once(hook, "listening");
  const send = ["send", "--url", `http://127.0.0.1:${hook.address().port}/api/hook/`, "--events", EVENTS, "--seed", SEED];
  await promisify(execFile)(program, send.map(String));
  hook.close();
  return events;
}

const ADDRESS = "jo.winter@example.com";

/** A message that was put off twice, and then did not get through. */
function story() {
  const now = Math.floor(Date.now() / 1000);
  const { msg } = fixture("message-hard-bounce");
  const of = (kind, ago, more) => event(kind, { _id: "5f0c3ad1e0b94c7f8a21d6be00000004", ts: now - ago, msg: { ...msg, email: ADDRESS, diag: undefined, bounce_description: undefined, ...more } });
  const deferred = (diag) => ({ state: "deferred", smtp_events: [{ diag }] });
  return [
    of("send", 190, { state: "sent" }),
    of("deferral", 150, deferred("451 4.7.1 Greylisted, please try again in 60 seconds")),
    of("deferral", 70, deferred("451 4.7.1 Greylisted, please try again in 60 seconds")),
    of("hard_bounce", 2, { diag: `smtp;550 5.1.1 <${ADDRESS}>: Recipient address rejected: User unknown`, bounce_description: "bad_mailbox" }),
  ];
}

const service = await Service.start();
const browser = await launch();

/** A page that shows the last five minutes, and no toast of what is sent for the picture. */
function visit(options) {
  const settings = { window: "5m", toasts: options.toasts ?? false };
  const prepare = (page) => page.addInitScript((settings) => localStorage.setItem("mandrill-live.settings", JSON.stringify(settings)), settings);
  return Visit.to(service, browser, { viewport: DESKTOP, reducedMotion: "reduce", ...options, prepare });
}

async function take(name, { page }) {
  await page.screenshot({ path: join(folder, `${name}.png`) });
  console.log(join(target, `${name}.png`));
}

try {
  mkdirSync(folder, { recursive: true });
  const busy = await visit({ toasts: true });
  await busy.page.locator("#webhook", { hasText: "No batch yet" }).waitFor();
  await take("empty", busy);

  const events = (await madeUp()).filter((event) => !NEEDS_FONTS.test(JSON.stringify(event)));
  for (let at = 0; at < events.length; at += BATCH) {
    await service.post(wire(...events.slice(at, at + BATCH)));
    await pause(PAUSE_MS);
  }
  await service.post(wire(...story()));
  await busy.row("email", ADDRESS).first().waitFor();
  await take("busy", busy);

  const filtered = await visit({ fragment: "#event=hard_bounce&event=soft_bounce&event=spam" });
  await filtered.rows.nth(5).waitFor();
  await filtered.press("/");
  await filtered.page.keyboard.type("tag:or");
  await filtered.page.locator("#suggestions [role=option]").first().waitFor();
  await take("filtered", filtered);

  for (const [name, options] of Object.entries({ detail: {}, dark: { colorScheme: "dark" } })) {
    const detail = await visit(options);
    await detail.row("email", ADDRESS).first().click();
    await detail.page.locator("#panel .timeline > li").nth(3).waitFor();
    await detail.page.locator('#counters [data-kind="send"][data-some]').waitFor();
    await detail.page.mouse.move(640, 20);
    await take(name, detail);
  }

  const phone = await visit({ viewport: PHONE, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await phone.rows.nth(5).waitFor();
  await phone.page.locator('#counters [data-kind="send"][data-some]').waitFor();
  await take("phone", phone);

  const disconnected = await visit({});
  await disconnected.rows.nth(5).waitFor();
  await service.kill();
  await disconnected.page.getByText(/Retrying in \d+ s/).waitFor();
  await take("disconnected", disconnected);
} finally {
  await browser.close();
  await service.stop();
}
