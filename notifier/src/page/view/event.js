// What is read of an event. Pure. With message.js this alone knows Mandrill's format on the page; everything it reads
// may be absent or of another type.

/** Longest text kept of one field, in characters. No real address or subject line is cut. */
export const TEXT_MAX = 1_000;

/** Tags shown of one event, and labels suggested of it. */
const TAGS_MAX = 20;
const METADATA_MAX = 20;

/**
 * The row of one event, as the server delivered it. Absent fields are null.
 * @param event the object
 * @param {string} [json] the same as text, kept for the reader who wants to see it
 */
export function rowOf(event, json = null) {
  const msg = object(event.msg);
  return {
    cursor: text(event._cursor),
    kind: text(event.event) ?? syncKind(event),
    state: text(msg.state),
    email: text(msg.email) ?? text(object(event.reject).email) ?? text(object(event.entry).email),
    subject: text(msg.subject),
    tags: list(msg.tags),
    sender: text(msg.sender) ?? text(msg.from_email),
    detail: text(msg.diag) ?? text(msg.bounce_description) ?? text(event.url) ?? text(object(event.reject).reason),
    id: text(event._id) ?? text(msg._id),
    receivedAt: time(event._received),
    happenedAt: time(event.ts, 1000),
    json,
  };
}

/** A row that is no event: something the reader must know about the rows above and below it. */
export function noticeOf(notice) {
  return { notice };
}

/** What filters see of an event: pairs of a filter's name and a value. */
export function labelsOf(event, row) {
  const msg = object(event.msg);
  const labels = [["event", row.kind], ["email", row.email], ["sender", row.sender]];
  for (const tag of row.tags) labels.push(["tag", tag]);
  labels.push(["subaccount", text(msg.subaccount)], ["template", text(msg.template)]);
  const metadata = object(msg.metadata);
  if (!Array.isArray(metadata)) {
    for (const [key, value] of Object.entries(metadata).slice(0, METADATA_MAX)) labels.push([`metadata.${key}`, text(value)]);
  }
  return labels.filter(([, value]) => value !== null);
}

/** Sync events (changes of the reject and allow lists) have no `event`: their type and action name them. */
function syncKind(event) {
  const type = text(event.type);
  return type && ["sync", type, text(event.action)].filter(Boolean).join("_");
}

export function object(value) {
  return typeof value === "object" && value !== null ? value : {};
}

/** What can be shown of a value in a line; null where there is nothing. */
export function text(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value !== "string" || value.trim() === "") return null;
  return value.length <= TEXT_MAX ? value : clipped(value);
}

function list(value) {
  if (!Array.isArray(value)) return [];
  return value.slice(0, TAGS_MAX).map(text).filter((tag) => tag !== null);
}

/** A slice keeps the whole string alive behind it, so the cut text is copied. No character is cut in half. */
function clipped(value) {
  return JSON.parse(JSON.stringify(value.slice(0, TEXT_MAX - 1).toWellFormed() + "…"));
}

/** Milliseconds since 1970, where `value` counts in `unit` milliseconds and is a moment a Date can hold. */
export function time(value, unit = 1) {
  const at = typeof value === "number" ? value * unit : NaN;
  return Math.abs(at) <= 8.64e15 ? at : null;
}
