// What ingest says: a line in the header, and all of it in a dialog. The failure everybody has on the first day is a
// signature that does not fit, and the addresses tried are what explains it.

import { $, h, renew, write } from "./dom.js";
import { ago, authenticationWords, count, refusals, webhookWords } from "./words.js";

/** Between two questions. */
export const POLL_MS = 5_000;

export class Webhook {
  #api;
  #button = $("#webhook");
  #dialog = $("#webhook-dialog");
  #body = $("#webhook-dialog [data-part=body]");
  #status = null;
  #error = null;

  constructor(api) {
    this.#api = api;
    this.#button.addEventListener("click", () => this.open());
  }

  open() {
    this.#fill();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  async poll() {
    try {
      this.#status = await this.#api.json("api/status");
      this.#error = null;
    } catch (error) {
      this.#status = null;
      this.#error = error.message;
    }
    this.show();
  }

  /** Also as time goes on. */
  show() {
    const { mood, text } = webhookWords(this.#status, this.#api.now(), performance.now());
    this.#button.dataset.mood = mood;
    write(this.#button, text);
    if (this.#dialog.open) this.#fill();
  }

  /** Twice a second, while somebody may be copying from it. */
  #fill() {
    renew(this.#body, this.#parts());
  }

  #parts() {
    if (this.#error) return [h("p", {}, `Not known: ${this.#error}.`)];
    if (!this.#status) return [h("p", {}, "Not known yet.")];
    const now = this.#api.now();
    const parts = (this.#status.ingest ?? []).map((report) => reportElement(report, now));
    if (parts.length === 0) parts.push(h("p", {}, nothingWords(this.#status)));
    return [...parts, storedElement(this.#status)];
  }
}

function nothingWords({ ingest }) {
  if (!Array.isArray(ingest)) return "What the webhook service reports is not shown to a token with a filter.";
  return "No webhook service (ingest) reports. Either none runs, or it does not reach the broker.";
}

function reportElement(report, now) {
  const facts = [
    ["Replica", h("code", {}, String(report.replica ?? "–"))],
    ["Signatures", authenticationWords(report.authentication)],
    ["Last batch", report.last_batch_ms ? ago(now - report.last_batch_ms) : "none since it started"],
    ["Stored", `${count(report.events ?? 0, "event")}, ${count(report.duplicates ?? 0, "duplicate")} left out`],
    ["Unusable", report.rejected ? `${count(report.rejected, "element")}, kept for mandrill-live rejected` : "none"],
    ["Refused", refusedText(report)],
    ["URLs tried", urlsElement(report.urls)],
  ];
  const refusal = report.last_refusal;
  return h("section", { className: "report" },
    refusal && h("div", { className: "refusal" },
      h("strong", {}, `Last refusal, ${ago(now - refusal.at_ms)}: ${refusal.name}`),
      h("p", {}, String(refusal.detail ?? "")),
      refusal.hint && h("p", {}, String(refusal.hint))),
    h("dl", { className: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function refusedText(report) {
  const all = [...refusals([report])].map(([name, times]) => `${times.toLocaleString()} × ${name}`);
  return all.length > 0 ? all.join(", ") : "none";
}

function urlsElement(urls) {
  if (!Array.isArray(urls) || urls.length === 0) return "none: MANDRILL_WEBHOOK_URLS is not set";
  return h("ul", {}, urls.map((url) => h("li", {}, h("code", {}, String(url)))));
}

function storedElement(status) {
  const stream = status?.stream;
  if (!stream) return h("p", {}, "How much is stored is not known now, or not for this token.");
  return h("p", {}, `${count(stream.messages, "event")} stored in all.`);
}
