// One message's life, from the events that tell of it. Pure. With event.js this alone reads Mandrill's format.

import { object, rowOf, text } from "./event.js";
import { precedence } from "./kinds.js";

/**
 * What the SMTP status of a bounce means, by RFC 3463's class, subject and detail; the first that fits.
 * The words are for people who do not know the numbers.
 */
const STATUS = [
  [/^\d\.1\.(1|0|10)$/, "The address does not exist."],
  [/^\d\.1\.2$/, "The address's domain does not exist."],
  [/^\d\.1\.\d+$/, "Something is wrong with the address."],
  [/^\d\.2\.1$/, "The mailbox is disabled."],
  [/^\d\.2\.2$/, "The mailbox is full."],
  [/^\d\.2\.\d+$/, "Something is wrong with the mailbox."],
  [/^\d\.3\.4$/, "The message is too large for the receiving system."],
  [/^\d\.3\.\d+$/, "The receiving system has a problem."],
  [/^\d\.4\.\d+$/, "The network or the routing on the way has a problem."],
  [/^\d\.5\.\d+$/, "The two systems did not understand each other."],
  [/^\d\.6\.\d+$/, "The content cannot be taken or converted."],
  [/^\d\.7\.(26|2[0-9])$/, "The sender could not be authenticated (SPF, DKIM or DMARC)."],
  [/^\d\.7\.1$/, "The receiving side refuses this mail by its policy."],
  [/^\d\.7\.\d+$/, "Refused for reasons of security or policy."],
];

/** The events' rows with what the timeline says of each, oldest first. */
export function timeline(events) {
  const entries = events.map((event) => ({ row: rowOf(event), facts: factsOf(event), diagnosis: diagnosisOf(event) }));
  // Mandrill's time has seconds only; within one, a message is sent before it is opened.
  return entries.sort((a, b) => at(a) - at(b) || precedence(a.row.kind) - precedence(b.row.kind) || received(a) - received(b));
}

function at({ row }) {
  return row.happenedAt ?? row.receivedAt ?? 0;
}

function received({ row }) {
  return row.receivedAt ?? 0;
}

/** Short lines: where, with what, which link, why. */
function factsOf(event) {
  const msg = object(event.msg);
  const reject = object(event.reject);
  const facts = [
    ["Where", placeOf(event)],
    ["With", clientOf(event)],
    ["Link", text(event.url)],
    ["Said", event.event === "deferral" ? (diagnosisOf(event)?.said ?? null) : null],
    ["Reason", text(reject.reason) ?? (event.event === "reject" ? text(object(msg.reject).reason) : null)],
    ["Detail", text(reject.detail) ?? text(object(event.entry).detail)],
  ];
  return facts.filter(([, value]) => value !== null);
}

export function placeOf(event) {
  const { city, region, country, country_short: code } = object(event.location);
  const parts = [text(city), text(region), text(country) ?? text(code)].filter(Boolean);
  const place = [...new Set(parts)].join(", ");
  const ip = text(event.ip);
  return place && ip ? `${place} (${ip})` : place || ip;
}

export function clientOf(event) {
  const agent = object(event.user_agent_parsed);
  const client = text(agent.ua_name) ?? text(agent.ua_family);
  const system = text(agent.os_name) ?? text(agent.os_family);
  const parts = [client, system && `on ${system}`, agent.mobile === true && "mobile"].filter(Boolean);
  return parts.length > 0 ? parts.join(", ").replace(", on", " on") : text(event.user_agent);
}

/** Why a message did not get through: what the other side said, and what that means. Null where it did. */
export function diagnosisOf(event) {
  if (!["hard_bounce", "soft_bounce", "deferral"].includes(event.event)) return null;
  const msg = object(event.msg);
  const attempts = Array.isArray(msg.smtp_events) ? msg.smtp_events.map(object) : [];
  const said = text(msg.diag) ?? (event.event === "deferral" ? text(attempts.at(-1)?.diag) : null);
  const description = text(msg.bounce_description);
  if (!said && !description) return null;
  const status = /\b[245]\.\d{1,3}\.\d{1,3}\b/.exec(said ?? "")?.[0] ?? null;
  const meaning = STATUS.find(([pattern]) => status && pattern.test(status))?.[1] ?? null;
  return { said, description, status, meaning };
}

/** What stands above the timeline, from whatever event says it. */
export function headOf(events) {
  const rows = events.map((event) => rowOf(event));
  const first = (pick) => rows.map(pick).find((value) => value !== null) ?? null;
  const messages = events.map((event) => object(event.msg));
  const field = (name) => messages.map((msg) => text(msg[name])).find((value) => value !== null) ?? null;
  return {
    email: first((row) => row.email),
    subject: first((row) => row.subject),
    sender: first((row) => row.sender),
    id: first((row) => row.id),
    tags: rows.find((row) => row.tags.length > 0)?.tags ?? [],
    template: field("template"),
    subaccount: field("subaccount"),
  };
}
