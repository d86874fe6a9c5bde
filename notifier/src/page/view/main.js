// The page: makes its parts and wires them. What each knows and does is in its own file.

import { Alerts } from "./alerts.js";
import { Api } from "./api.js";
import { $ } from "./dom.js";
import { Exporting } from "./exporting.js";
import { Feed } from "./feed.js";
import { Finder } from "./finder.js";
import { POLL_MS as STATS_POLL_MS, Glance } from "./glance.js";
import { ConnectionStatus } from "./header.js";
import { Keys } from "./keys.js";
import { Older } from "./older.js";
import { Panel } from "./panel.js";
import { Place } from "./place.js";
import { Preferences } from "./preferences.js";
import { matcher } from "./search.js";
import { Settings } from "./settings.js";
import { Shown } from "./shown.js";
import { SignIn } from "./signin.js";
import { Seen } from "./suggestions.js";
import { Table } from "./table.js";
import { Times } from "./times.js";
import { Toasts } from "./toasts.js";
import { TokenKeeper } from "./token.js";
import { POLL_MS as STATUS_POLL_MS, Webhook } from "./webhook.js";

/** An event stored earlier than this before the page was opened is history: shown, not announced. */
const CLOCK_SLACK_MS = 2_000;

/** The pace of what counts down or ages. */
const TICK_MS = 500;

let times = new Times();
const settings = new Settings(() => localStorage);
const keeper = new TokenKeeper(() => sessionStorage);
const api = new Api(document.baseURI, () => keeper.token);
const seen = new Seen();
const toasts = new Toasts(document);
const alerts = new Alerts();
const webhook = new Webhook(api);
const preferences = new Preferences(settings, alerts);

const place = new Place({ changed: (now, what) => changed(now, what) });
const feed = new Feed(api, () => keeper.token, {
  state: (state) => connection(state),
  event: (row, labels) => arrived(row, labels),
  seen: (labels) => seen.add(labels),
  notice: () => table.update(),
  anew: () => table.resume(),
  older: () => olderCame(),
  erased: () => erased(),
  token: () => signIn.accepted(),
});
const shown = new Shown(feed.list);
const status = new ConnectionStatus({ retry: () => feed.retry(), signIn: () => signIn.open("") });
const signIn = new SignIn(api, keeper, { token: (token) => tokenChanged(token) });
const glance = new Glance(api, () => times, settings.get("window"), {
  toggle: (kind) => place.toggle("event", kind),
  window: (window) => settings.set("window", window),
});
const finder = new Finder(seen, {
  add: (name, ...values) => place.add(name, ...values),
  remove: (name, value) => place.remove(name, value),
  search: (text) => place.search(text),
  clear: () => place.clear(),
});
const panel = new Panel(api, () => times, {
  closed: () => closed(),
  message: (id) => place.message(id),
  recipient: (person) => place.recipient(person),
  filter: (name, value) => place.add(name, value),
  loaded: (id) => [...feed.list].filter((row) => row.id === id),
});
const table = new Table(shown, () => times, {
  open: (row) => open(row),
  select: (row) => panel.open && open(row),
  older: () => older.wanted(),
  drawn: () => drawn(),
});
const older = new Older(feed, shown);
const exporting = new Exporting(api, () => place.now);
let connected = null;
let opened = Date.now();

function arrived(row, labels) {
  shown.added(row);
  seen.add(labels);
  glance.add(row);
  if (row.receivedAt === null || row.receivedAt > opened + api.skewMs - CLOCK_SLACK_MS) {
    toasts.add(row);
    alerts.add(row);
  }
  table.update();
}

function connection(state) {
  const back = connected === false && (state.name === "live" || state.name === "catching-up");
  connected = state.name === "live" || state.name === "catching-up" || state.name === "stalled";
  status.show(state);
  older.connected = connected;
  if (state.name === "unauthorized") signIn.refused(state.reason);
  if (back) refresh();
  table.update();
}

/** What is asked for by HTTP, and may have failed with the connection. */
function refresh() {
  glance.poll();
  webhook.poll();
  signIn.load();
}

function changed({ filter, search, message, recipient }, what) {
  finder.show(place.now);
  if (what.filter) look(filter);
  if (what.search || what.filter) shown.search(matcher(search));
  if (what.panel) showPanel(message, recipient);
  table.update();
}

function look(filter) {
  opened = Date.now();
  feed.look(filter);
  glance.look(filter);
}

function showPanel(message, recipient) {
  if (message) panel.message(message, table.selected?.id === message ? table.selected : null);
  else if (recipient) panel.recipient(recipient);
  else panel.hide();
}

/** A row by pointer or key. */
function open(row) {
  if (!row || row.notice) return;
  if (row.id && row.id === place.now.message && panel.open) return;
  if (row.id) return place.message(row.id);
  place.closePanel();
  panel.event(row);
}

function closed() {
  place.closePanel();
  table.redraw();
}

function olderCame() {
  shown.changed();
  table.draw();
}

function drawn() {
  older.show();
  finder.found(shown.searching ? `${shown.list.size.toLocaleString()} found` : "");
}

/** A person's events are to be forgotten everywhere, in what was suggested as well. */
function erased() {
  toasts.clear();
  seen.clear();
  panel.erased();
  table.selected = null;
  shown.changed();
  table.redraw();
  glance.poll();
}

function tokenChanged(token) {
  if (token && feed.begun) feed.setToken(token);
  else look(place.now.filter);
  refresh();
}

const keys = new Keys([
  { keys: [" "], shown: "Space", text: "Pause, or show what is new and go on", run: () => table.toggle() },
  { keys: ["j", "ArrowDown"], shown: "j ↓", text: "Next row", run: () => table.move(1) },
  { keys: ["k", "ArrowUp"], shown: "k ↑", text: "Row before", run: () => table.move(-1) },
  { keys: ["PageDown"], shown: "PgDn", text: "A page down", run: () => table.move(table.page) },
  { keys: ["PageUp"], shown: "PgUp", text: "A page up", run: () => table.move(-table.page) },
  { keys: ["Enter", "o"], shown: "Enter", text: "Open the row’s message", run: () => { open(table.selected); panel.focus(); } },
  { keys: ["Escape"], shown: "Esc", text: "Close the panel", run: () => panel.close() },
  { keys: ["/"], shown: "/", text: "Search and filter", run: () => finder.focus() },
  { keys: ["x"], shown: "x", text: "Clear all filters", run: () => place.clear() },
  { keys: ["e"], shown: "e", text: "Export this view", run: () => exporting.open() },
  { keys: ["w"], shown: "w", text: "What the webhook says", run: () => webhook.open() },
  { keys: ["s"], shown: "s", text: "Settings", run: () => preferences.open() },
]);

settings.follow((name, value) => {
  if (name === "toasts") toasts.enabled = value;
  if (name === "theme") document.documentElement.dataset.theme = value;
  if (name === "notify") alerts.kinds = new Set(value);
  if (name === "singleKeys") keys.single = value;
  if (name === "hoverPauses") table.hoverPauses = value;
  if (name === "utc") {
    times = new Times(value);
    table.redraw();
  }
});

/** Again and again while somebody looks. */
function every(ms, run) {
  run();
  setInterval(() => document.hidden || run(), ms);
}

/** Nothing is asked for that would be refused. */
const ifAllowed = (run) => () => signIn.needed || run();

async function start() {
  await signIn.load();
  if (signIn.needed) connection({ name: "unauthorized" });
  else look(place.now.filter);
  showPanel(place.now.message, place.now.recipient);
  every(STATUS_POLL_MS, ifAllowed(() => webhook.poll()));
  every(STATS_POLL_MS, ifAllowed(() => glance.poll()));
  every(TICK_MS, () => {
    status.tick(Date.now());
    webhook.show();
    signIn.show();
    glance.show();
  });
}

$("#empty [data-part=hook]").textContent = api.url("api/hook/");
for (const change of ["online", "offline"]) addEventListener(change, () => feed.check());
document.addEventListener("visibilitychange", () => document.hidden || feed.check());
finder.show(place.now);
shown.search(matcher(place.now.search));
start();
