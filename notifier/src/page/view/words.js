// What the page says about the connection and about the webhook. Pure; no word of it is more than what is known.

/** A report older than this is not the present any more. */
export const REPORT_AGE_MS = 15_000;

/** What a state of the connection is called, and what it means for the reader. */
export function connectionWords(state) {
  switch (state.name) {
    case "connecting":
      return { text: "Connecting…", title: "" };
    case "live":
      return state.transport === "sse"
        ? { text: "Live over HTTP", title: "Something on the way lets no WebSocket through. Events come as Server-Sent Events instead; nothing is missing." }
        : { text: "Live", title: "Events appear as they arrive." };
    case "catching-up":
      return { text: `Catching up: ${count(state.count, "event")}`, title: "What arrived while the connection was away is coming." };
    case "stalled":
      return { text: "Broker silent", title: "This page is connected, but the service does not hear its broker. Events are kept and appear when it answers again." };
    case "reconnecting":
      return { text: state.at ? "Not connected. Retrying" : "Reconnecting…", title: "Events that arrive meanwhile are kept and appear after the connection is back." };
    case "unauthorized":
      return { text: "A token is needed", title: state.reason ?? "" };
    default:
      return { text: stopped(state), title: "" };
  }
}

function stopped({ code, reason }) {
  if (code === undefined) return "Disconnected";
  if (code === 4403) return `Not allowed: ${reason || "these events are not for you"}`;
  return `Stopped by the server: ${reason || `code ${code}`}`;
}

/** Whole seconds until it is tried again; null where nothing is counted down. */
export function secondsLeft(state, now) {
  if (state?.name !== "reconnecting" || !state.at) return null;
  return Math.max(1, Math.ceil((state.at - now) / 1000));
}

/** What a gap's reasons mean to the reader. */
export function gapWords(reason) {
  switch (reason) {
    case "retention":
      return "Events are missing here: they were deleted by age before this page could get them.";
    case "epoch":
      return "Events may be missing here: the event store was created anew or restored from a backup.";
    default:
      return "Events may be missing here: the server could not go on where this page left off.";
  }
}

/**
 * How the webhook does, from the reports of each ingest in `/api/status`. `mood` is `good`, `quiet`, `bad` or
 * `unknown`; `now` is the server's clock. Reports come every two seconds: one who has `listened` for less does not know.
 */
export function webhookWords(status, now, listenedMs = Infinity) {
  if (status === null) return { mood: "unknown", text: "Webhook: not known" };
  if (!Array.isArray(status.ingest)) return { mood: "unknown", text: "Webhook: not shown to this token" };
  const reports = status.ingest.filter((report) => now - report.at_ms < REPORT_AGE_MS);
  if (reports.length === 0) {
    return listenedMs < REPORT_AGE_MS ? { mood: "unknown", text: "Listening for the webhook…" } : { mood: "bad", text: "No webhook service reports" };
  }
  const newest = (pick) => Math.max(...reports.map((report) => pick(report) ?? -Infinity));
  const batchAt = newest((report) => report.last_batch_ms);
  const refusedAt = newest((report) => report.last_refusal?.at_ms);
  if (refusedAt > batchAt) {
    const { last_refusal: refusal } = reports.find((report) => report.last_refusal?.at_ms === refusedAt);
    return { mood: "bad", text: `Webhook refused ${ago(now - refusedAt)}: ${refusal.name}` };
  }
  if (batchAt > -Infinity) return { mood: "good", text: `Last batch ${ago(now - batchAt)}` };
  if (reports.every((report) => report.authentication === "no-key")) return { mood: "bad", text: "Webhook has no key yet" };
  return { mood: "quiet", text: "No batch yet" };
}

/** How many requests were refused, over all replicas, by the refusal's name. */
export function refusals(reports) {
  const all = new Map();
  for (const { requests } of reports) {
    for (const [name, times] of Object.entries(requests ?? {})) {
      if (name !== "accepted" && Number.isFinite(times)) all.set(name, (all.get(name) ?? 0) + times);
    }
  }
  return all;
}

/** What each way of telling Mandrill's requests from others means. */
export function authenticationWords(authentication) {
  switch (authentication) {
    case "signed":
      return "Signatures are checked";
    case "unsigned":
      return "Unsigned batches are taken (development)";
    case "no-key":
      return "No key yet: batches wait at Mandrill until MANDRILL_WEBHOOK_KEYS is set";
    default:
      return String(authentication ?? "not known");
  }
}

const UNITS = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1_000, "s"]];

export function ago(ms) {
  if (ms < 1_500) return "just now";
  const [size, unit] = UNITS.find(([size]) => ms >= size);
  return `${Math.floor(ms / size)} ${unit} ago`;
}

export function count(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}

/** What a token allows, in a line; null where everything is open. */
export function accessWords(me, now) {
  if (!me || (!me.filter && !me.expires_at && !me.subject)) return null;
  const parts = [];
  if (me.filter) {
    const terms = Object.entries(me.filter).map(([name, values]) => `${name} ${[values].flat().join(" or ")}`);
    parts.push(`Only ${terms.join(", ")}`);
  } else {
    parts.push("All events");
  }
  if (me.expires_at) parts.push(me.expires_at > now ? `for ${until(me.expires_at - now)}` : "the token has ended");
  return parts.join(", ");
}

function until(ms) {
  const [size, unit] = UNITS.find(([size]) => ms >= size) ?? [1_000, "s"];
  return `${Math.floor(ms / size)} ${unit}`;
}
