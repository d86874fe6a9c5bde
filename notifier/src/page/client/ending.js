// What a session's end means for the next one. Pure: the server's table of close codes, read from the client's side.

/** What a client does next. */
export const Next = Object.freeze({
  /** Again, after a wait that grows from failure to failure. */
  RETRY: "retry",
  /** Again, but from the newest events: those after the cursor are gone. */
  AFRESH: "afresh",
  /** Only with another token. */
  TOKEN: "token",
  /** Not again: the same would happen. */
  STOP: "stop",
});

/** No room: the reason names the seconds to wait. */
export const NO_ROOM = 1013;
/** A session that ended without a word, or never began. */
export const LOST = 1006;

const NEXT = new Map([
  ...[1002, 1003, 1007, 1008, 1009, 4400, 4403].map((code) => [code, Next.STOP]),
  [4401, Next.TOKEN],
  [4410, Next.AFRESH],
]);

/** The status of a refused stream, as the close code that a socket would have got. */
const CODE_OF_STATUS = new Map([[400, 4400], [401, 4401], [403, 4403], [404, 4400], [410, 4410], [421, 4403], [429, NO_ROOM], [503, NO_ROOM]]);

/** The longest wait a server may ask for. */
const ASKED_MAX_S = 3600;

/** Waits between attempts grow from the first to the last. */
export const BACKOFF_MS = { first: 500, most: 30_000 };

/** @param {number} code of a WebSocket's close */
export function nextAfter(code) {
  return NEXT.get(code) ?? Next.RETRY;
}

/** @param {number} status of a refused stream */
export function codeOfStatus(status) {
  return CODE_OF_STATUS.get(status) ?? LOST;
}

/**
 * How long to wait before the next attempt. Half of it is chance, so that not everybody comes at once.
 * @param {number} failures how many attempts failed in a row
 * @param {number} random from 0 to 1
 * @param {number} asked the seconds a full server asked for
 */
export function waitMs(failures, random, asked = 0) {
  const longest = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** failures);
  return asked * 1000 + longest * (0.5 + random / 2);
}

/** The seconds that a full server's reason names. */
export function secondsAsked(code, reason) {
  if (code !== NO_ROOM) return 0;
  return Math.min(Number(/\d+/.exec(reason ?? "")?.[0] ?? 0), ASKED_MAX_S);
}
