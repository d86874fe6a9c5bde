// Filters, and what the address bar's fragment says. Pure. The fragment never reaches a server's log.

const NAMES = ["event", "email", "sender", "tag", "subaccount", "template"];

/** What a filter's name is called. */
const CALLED = new Map([["event", "Event"], ["email", "E-mail"], ["sender", "Sender"], ["tag", "Tag"],
  ["subaccount", "Subaccount"], ["template", "Template"]]);

export function isFilterName(name) {
  return NAMES.includes(name) || /^metadata\..+$/s.test(name);
}

export function calledOf(name) {
  return CALLED.get(name) ?? name.replace(/^metadata\./, "Metadata ");
}

/**
 * What is looked at: the filter, the text searched for, and what the panel shows.
 * @typedef {{filter: Record<string, string[]>, search: string, message: string|null, recipient: string|null}} Place
 */

/** @returns {Place} */
export function readFragment(fragment) {
  const place = { filter: {}, search: "", message: null, recipient: null };
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (name === "search") place.search = value;
    else if (name === "message" || name === "recipient") place[name] = value || null;
    else if (isFilterName(name)) place.filter = withValues(place.filter, name, valuesOf(value));
  }
  return place;
}

/** @param {Place} place */
export function writeFragment({ filter, search, message, recipient }) {
  const fields = new URLSearchParams();
  for (const [name, values] of Object.entries(filter)) for (const value of values) fields.append(name, written(value));
  if (search) fields.set("search", search);
  if (message) fields.set("message", message);
  if (recipient) fields.set("recipient", recipient);
  // As people read and share it: an address stays an address.
  return fields.toString().replaceAll("%40", "@");
}

/** Values as they are typed, and stand in the server's own query: with commas between them, and `\,` for one within. */
export function valuesOf(text) {
  const written = text.match(/(?:\\,|[^,])+/g) ?? [];
  return written.map((value) => value.replaceAll("\\,", ",").trim()).filter(Boolean);
}

function written(value) {
  return value.replaceAll(",", "\\,");
}

/** With these values as well. */
export function withValues(filter, name, values) {
  const all = [...new Set([...(filter[name] ?? []), ...values])];
  return all.length > 0 ? { ...filter, [name]: all } : filter;
}

export function withoutValue(filter, name, value) {
  const { [name]: values = [], ...others } = filter;
  const left = values.filter((other) => other !== value);
  return left.length > 0 ? { ...filter, [name]: left } : others;
}

export function sameFilter(one, other) {
  return writeFragment({ filter: one }) === writeFragment({ filter: other });
}

/** As a query for the server. */
export function query(filter, more = {}) {
  const fields = new URLSearchParams();
  for (const [name, values] of Object.entries(filter)) for (const value of [values].flat()) fields.append(name, written(value));
  for (const [name, value] of Object.entries(more)) if (value !== null && value !== undefined) fields.set(name, value);
  return fields.toString();
}

/** `tag:orders`, as it is typed; null where it is something else. */
export function readTyped(typed) {
  const [, name, value] = /^\s*([a-z]+(?:\.[^\s:]+)?)\s*:(.*)$/s.exec(typed) ?? [];
  const known = name === "e-mail" ? "email" : name;
  return known && isFilterName(known) ? { name: known, value: value.trim() } : null;
}
