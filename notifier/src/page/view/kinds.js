// The kinds of events as people know them. Pure.

/** Each kind of a message's life in the order things happen, which settles what events of one second come first. */
const KINDS = new Map([
  ["send", "Sent"],
  ["reject", "Rejected"],
  ["deferral", "Deferred"],
  ["delivered", "Delivered"],
  ["soft_bounce", "Soft bounce"],
  ["hard_bounce", "Hard bounce"],
  ["open", "Opened"],
  ["click", "Clicked"],
  ["spam", "Complaint"],
  ["unsub", "Unsubscribed"],
  ["inbound", "Inbound mail"],
]);

/** The kinds that a person has to do something about. */
export const ALARMING = new Set(["hard_bounce", "reject", "spam"]);

/** The kinds that have a counter even where there are none of them. */
export const COUNTED = [...KINDS.keys()].filter((kind) => kind !== "inbound");

const ORDER = new Map([...KINDS.keys()].map((kind, at) => [kind, at]));

/** What a kind is called; one that is not known here is called what it is. */
export function nameOf(kind) {
  return KINDS.get(kind) ?? String(kind ?? "unknown").replaceAll("_", " ");
}

/** What comes first where two events have one time. */
export function precedence(kind) {
  return ORDER.get(kind) ?? ORDER.size;
}
