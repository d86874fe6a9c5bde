// The page: wires the connection to the rows, the table, the toasts and the header.

import { Connection } from "./connection.js";
import { ConnectionStatus, Summary } from "./header.js";
import { Rate, RowList, Tally, noticeOf, rowOf, rowsOfRecipient } from "./model.js";
import { Table } from "./table.js";
import { Toasts } from "./toasts.js";

/** An event stored earlier than this before the page was opened is history: shown, not announced. */
const CLOCK_SLACK_MS = 2_000;

/** How long the server has to answer when it is asked whether it is there. */
const PROBE_TIMEOUT_MS = 5_000;

/** What a gap's reasons mean to the reader. */
const GAPS = new Map([
  ["retention", "Events are missing here: they were deleted by age before this page could get them."],
  ["epoch", "Events may be missing here: the event store was created anew or restored from a backup."],
]);
const GAP = "Events may be missing here: the server could not go on where this page left off.";

const opened = Date.now();
const list = new RowList();
const tally = new Tally();
const rate = new Rate();

const table = new Table(list, document);
const toasts = new Toasts(document);
const summary = new Summary(document);

const socket = new URL("ws/email/", document.baseURI);
socket.protocol = socket.protocol.replace("http", "ws");

const connection = new Connection(socket.href, {
  state: (state) => status.show(state),
  event: show,
  gap: (reason) => notice(GAPS.get(reason) ?? GAP),
  erased: forget,
  error: (text) => notice(`The server reports an error: ${String(text ?? "no detail").slice(0, 300)}`),
}, { probe });
const status = new ConnectionStatus(document, () => connection.retry());

function show(event) {
  const row = rowOf(event);
  list.add(row);
  tally.add(row);
  if (row.receivedAt === null || row.receivedAt > opened - CLOCK_SLACK_MS) {
    rate.add(Date.now());
    toasts.add(row);
  }
  table.update();
}

function notice(text) {
  list.add(noticeOf(text));
  table.update();
}

/** Events that come while addresses are compared are newer than the erasure and stay. */
async function forget(recipient) {
  toasts.clear();
  if (crypto.subtle) {
    const digest = (bytes) => crypto.subtle.digest("SHA-256", bytes);
    const theirs = await rowsOfRecipient(list.since(0), recipient, digest);
    list.remove((row) => theirs.has(row));
    table.update();
  } else {
    // Browsers hash only where the page came encrypted or from this machine. The server knows whom to leave out.
    location.reload();
  }
}

async function probe() {
  await fetch(document.baseURI, { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
}

function rememberToasts() {
  const box = document.querySelector("#toasts-on");
  box.checked = stored("toasts") !== "off";
  const apply = () => (toasts.enabled = box.checked);
  box.addEventListener("change", () => {
    apply();
    store("toasts", box.checked ? "on" : "off");
  });
  apply();
}

/** Browsers may refuse storage; then settings last as long as the page. */
function stored(key) {
  try {
    return localStorage.getItem(`mandrill-live.${key}`);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(`mandrill-live.${key}`, value);
  } catch {
    // Nothing to do: the page works without.
  }
}

document.querySelector("#empty [data-part=hook]").textContent = new URL("api/hook/", document.baseURI).href;
rememberToasts();
for (const change of ["online", "offline"]) window.addEventListener(change, () => connection.check());
document.addEventListener("visibilitychange", () => document.hidden || connection.check());
setInterval(() => {
  summary.show(tally, rate.perSecond(Date.now()));
  status.tick(Date.now());
}, 250);
connection.open();
