// Takes the picture of the running page that the README shows: `node screenshot.mjs docs/screenshot.png`,
// relative to the repository.

import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { promisify } from "node:util";

import { launch } from "./chromium.mjs";
import { Service, program, root } from "./service.mjs";

const [target] = process.argv.slice(2);
if (!target) throw new Error("say where the picture goes: node screenshot.mjs docs/screenshot.png");
const path = resolve(root, target);
const events = 160; // enough that messages sent at the start are opened and clicked

const service = await Service.start();
try {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(service.origin);
  await page.locator('#connection[data-state="live"]').waitFor();
  // Slowly enough that the page is seen at work, always with the same people in it. The last of this seed have
  // no subject that a machine without Japanese fonts would show as boxes.
  const send = ["send", "--url", `${service.origin}/api/hook/`, "--events", events, "--batch", 4, "--rate", 50, "--seed", 117];
  await promisify(execFile)(program, send, { env: { ...process.env, ...service.signing } });
  await page.locator("#events tr[data-cursor]").nth(10).waitFor();
  mkdirSync(dirname(path), { recursive: true });
  await page.screenshot({ path });
  await browser.close();
} finally {
  await service.stop();
}
console.log(`${target}: ${events} events`);
