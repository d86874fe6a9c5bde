// One message, or one event that belongs to none, as elements.

import { object } from "./event.js";
import { copy, h, save } from "./dom.js";
import { pretty } from "./json.js";
import { nameOf } from "./kinds.js";
import { headOf, timeline } from "./message.js";

/**
 * @param view `events` (each with its `json`) as the service gave them, or `rows` that are loaded; a `note` on how
 *   complete that is; `missing`, why there is nothing
 */
export function messageView({ id, events, rows = [], note = null, missing = null }, tools) {
  const known = events ?? rows.map(fromRow);
  if (known.length === 0) {
    const text = missing ?? note ?? "There is nothing of this message.";
    return [h("p", { className: "note" }, `${text}`), h("dl", { className: "facts" }, fact("Message", code(id)))];
  }
  const objects = known.map(({ event }) => event);
  const head = headOf(objects);
  const entries = timeline(objects);
  const json = new Map(known.map(({ event, json }) => [event._cursor, json]));
  return [
    headElement(head, tools),
    diagnosisElement(entries),
    h("ol", { className: "timeline" }, entries.map((entry) => entryElement(entry, tools.times))),
    note && h("p", { className: "note", role: "status" }, note),
    actions(head, tools),
    ...[...entries].reverse().map(({ row }) => jsonElement(row, json.get(row.cursor) ?? null, tools)),
  ].filter(Boolean);
}

export function eventView(row, tools) {
  const { event, json } = fromRow(row);
  const [entry] = timeline([event]);
  return [
    headElement(headOf([event]), tools),
    h("ol", { className: "timeline" }, entryElement(entry, tools.times)),
    actions(row, tools),
    jsonElement(row, json, tools),
  ].filter(Boolean);
}

/** What a row still has of its event. Without the JSON it is what the table shows. */
function fromRow(row) {
  if (row.json) return { event: JSON.parse(row.json), json: row.json };
  const { kind, email, subject, state, tags, sender, id, happenedAt } = row;
  const msg = { email, subject, state, tags, sender };
  const event = { _cursor: row.cursor, _received: row.receivedAt, event: kind, _id: id, ts: happenedAt === null ? null : happenedAt / 1000, msg };
  return { event, json: null };
}

function headElement(head, tools) {
  const tags = head.tags.map((tag) => h("button", { type: "button", className: "tag", title: `Only tag ${tag}`, on: { click: () => tools.filter("tag", tag) } }, tag));
  return h("div", { className: "head" },
    h("p", { className: "subject" }, head.subject ?? "No subject"),
    h("dl", { className: "facts" },
      fact("To", head.email && h("button", { type: "button", className: "link", on: { click: () => tools.recipient(head.email) } }, head.email)),
      fact("From", head.sender), fact("Template", head.template), fact("Subaccount", head.subaccount),
      tags.length > 0 ? fact("Tags", h("span", { className: "tags" }, tags)) : null,
      fact("Message", head.id && code(head.id))));
}

function fact(name, value) {
  return value ? [h("dt", {}, name), h("dd", {}, value)] : [];
}

function code(text) {
  return h("code", {}, text);
}

/** Why it did not get through stands above everything that happened. */
function diagnosisElement(entries) {
  const entry = entries.findLast(({ diagnosis }) => diagnosis);
  if (!entry) return null;
  const { said, description, status, meaning } = entry.diagnosis;
  return h("section", { className: "diagnosis", data: { kind: entry.row.kind } },
    h("h3", {}, nameOf(entry.row.kind), description && h("span", {}, description.replaceAll("_", " "))),
    meaning && h("p", {}, `${meaning} (${status})`),
    said && h("p", { className: "said" }, said));
}

function entryElement({ row, facts }, times) {
  const at = row.happenedAt ?? row.receivedAt;
  return h("li", { data: { kind: row.kind } },
    h("b", {}, nameOf(row.kind)),
    at === null ? null : h("time", { dateTime: new Date(at).toISOString(), title: times.full(at) }, times.short(at)),
    facts.length > 0 && h("dl", {}, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function actions(head, tools) {
  if (!head.email) return null;
  return h("p", { className: "actions" },
    h("button", { type: "button", on: { click: () => tools.recipient(head.email) } }, "This person’s events"),
    h("button", { type: "button", on: { click: () => tools.filter("email", head.email) } }, "Only this person in the table"));
}

/** Laid out only when it is looked at. */
function jsonElement(row, json, tools) {
  const summary = h("summary", {}, `JSON: ${nameOf(row.kind)}`);
  if (!json) return h("details", { className: "json" }, summary, h("p", { className: "note" }, "Not kept in this page any more."));
  const text = h("pre", { tabIndex: 0, ariaLabel: "JSON" });
  const told = h("span", { role: "status" });
  const copied = async () => {
    try {
      await copy(json);
      told.textContent = "Copied";
    } catch (error) {
      told.textContent = `Not copied: ${error.message}`;
    }
  };
  const details = h("details", { className: "json", data: { cursor: row.cursor } }, summary,
    h("p", { className: "actions" }, h("button", { type: "button", on: { click: copied } }, "Copy"), originalButton(json, told, tools), told),
    text);
  details.addEventListener("toggle", () => {
    if (details.open && !text.textContent) text.textContent = pretty(json);
  });
  return details;
}

/** A large event is stored whole beside the stream. */
function originalButton(json, told, { api }) {
  const large = object(object(JSON.parse(json))._large);
  if (typeof large.object !== "string") return null;
  const fetched = async () => {
    told.textContent = "Loading…";
    try {
      const answer = await api.answer(`api/large/${encodeURIComponent(large.object)}`);
      save(await answer.blob(), "event.json");
      told.textContent = "";
    } catch (error) {
      told.textContent = `Not loaded: ${error.message}`;
    }
  };
  const bytes = Number(large.bytes);
  const label = Number.isFinite(bytes) ? `Whole original, ${bytes.toLocaleString()} bytes` : "Whole original";
  return h("button", { type: "button", on: { click: fetched } }, label);
}

