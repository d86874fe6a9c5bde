// What reaches the reader while the tab is hidden: desktop notifications, and a number on the tab's icon and title.

import { $ } from "./dom.js";
import { ALARMING, nameOf } from "./kinds.js";

/** Notifications are put together for so long. */
const GATHER_MS = 2_000;

const TITLE = document.title;
const ICON = $("link[rel=icon]").href;

export class Alerts {
  /** The kinds that are notified. */
  kinds = new Set();
  /** Whether this browser has notifications for pages; Chrome on Android tells only when one is made. */
  possible = "Notification" in globalThis;
  #missed = 0;
  #gathered = new Map();
  #timer = null;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#badge((this.#missed = 0));
    });
  }

  add(row) {
    if (!document.hidden) return;
    if (ALARMING.has(row.kind)) this.#badge((this.#missed += 1));
    if (!this.kinds.has(row.kind)) return;
    this.#gathered.set(row.kind, (this.#gathered.get(row.kind) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.#notify(row.email), GATHER_MS);
  }

  #notify(email) {
    this.#timer = null;
    const all = [...this.#gathered];
    this.#gathered.clear();
    if (!this.possible || Notification.permission !== "granted") return;
    const title = all.map(([kind, count]) => `${count.toLocaleString()} × ${nameOf(kind)}`).join(", ");
    const one = all.length === 1 && all[0][1] === 1;
    const options = { body: one ? (email ?? "") : "", tag: "mandrill-live", renotify: true, icon: ICON };
    try {
      const notification = new Notification(one ? nameOf(all[0][0]) : title, options);
      notification.onclick = () => {
        window.focus();
        notification.close();
      };
    } catch {
      this.possible = false;
    }
  }

  #badge(count) {
    document.title = count > 0 ? `(${count.toLocaleString()}) ${TITLE}` : TITLE;
    $("link[rel=icon]").href = count > 0 ? badged(count) : ICON;
  }
}

/** The icon with a red disc, and the number in it where it is legible. */
function badged(count) {
  const text = count > 9 ? "9+" : String(count);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="6" fill="#0b6b57"/>` +
    `<circle cx="15" cy="15" r="9" fill="#bd1d2c"/><text x="15" y="19.5" font-family="sans-serif" font-size="13" font-weight="700" text-anchor="middle" fill="#fff">${text}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
