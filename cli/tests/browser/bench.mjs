// How smooth the page stays while events pour in: the times between frames, as the browser gives them to the page, while
// 500 events a second arrive for 30 seconds, first with the newest rows flowing, then while a reader scrolls.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { launch } from "./chromium.mjs";
import { Service, program } from "./service.mjs";
import { Visit } from "./visit.mjs";

const RATE = Number(process.env.RATE ?? 500);
const SECONDS = Number(process.env.DURATION ?? 30);

/** Begins to note when frames come. */
const watch = () => {
  globalThis.frames_ = [];
  globalThis.tasks_ = [];
  let before = performance.now();
  const frame = (now) => {
    globalThis.frames_.push(now - before);
    before = now;
    globalThis.request_ = requestAnimationFrame(frame);
  };
  globalThis.request_ = requestAnimationFrame(frame);
  globalThis.observer_ = new PerformanceObserver((list) => globalThis.tasks_.push(...list.getEntries().map(({ duration }) => duration)));
  globalThis.observer_.observe({ type: "longtask" });
};
const result = () => {
  cancelAnimationFrame(globalThis.request_);
  globalThis.observer_.disconnect();
  return { frames: globalThis.frames_, tasks: globalThis.tasks_, heap: performance.memory?.usedJSHeapSize ?? null };
};

/** A reader who goes down and up again, a wheel's notch at a time. */
async function scroll(page, until) {
  await page.mouse.move(640, 600);
  for (let notch = 0; Date.now() < until; notch++) await page.mouse.wheel(0, notch % 40 < 20 ? 240 : -240);
}

function row(name, events, { frames, tasks, heap }) {
  const sorted = frames.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(1);
  const longest = Math.max(0, ...tasks).toFixed(0);
  const cells = [name, events, frames.length, at(0.5), at(0.95), at(0.99), at(1), tasks.length, longest, heap ? (heap / 2 ** 20).toFixed(0) : "?"];
  return cells.map((cell, column) => String(cell).padEnd(column === 0 ? 12 : 9)).join(" ");
}

const service = await Service.start();
const browser = await launch();
try {
  console.log(`page: ${RATE} events a second for ${SECONDS} s; times between frames and of long tasks (over 50 ms) in ms`);
  console.log(["", "events", "frames", "p50", "p95", "p99", "max", "long", "longest", "heap MiB"].map((cell, column) => cell.padEnd(column === 0 ? 12 : 9)).join(" "));
  for (const [name, read] of Object.entries({ flowing: async () => {}, scrolling: scroll })) {
    const visit = await Visit.to(service, browser, { viewport: { width: 1280, height: 800 } });
    await visit.page.evaluate(watch);
    const send = ["send", "--url", `${service.origin}/api/hook/`, "--events", RATE * SECONDS, "--batch", 25, "--rate", RATE];
    const sending = promisify(execFile)(program, send.map(String), { env: { ...process.env, ...service.signing } });
    await Promise.all([sending, read(visit.page, Date.now() + SECONDS * 1_000)]);
    console.log(row(name, RATE * SECONDS, await visit.page.evaluate(result)));
    await visit.close();
  }
} finally {
  await browser.close();
  await service.stop();
}
