// Types of client.js.

/**
 * Names and values that events must match. Values of one name are alternatives, different names must all hold.
 * Names: `event`, `email`, `sender`, `tag`, `subaccount`, `template`, `message`, `metadata.KEY`.
 */
export type Filter = Record<string, string | string[]>;

/** Mandrill's object as it was sent, with a place in the stream and the milliseconds since 1970 of its arrival in front. */
export interface LiveEvent {
  _cursor: string;
  _received: number;
  [field: string]: unknown;
}

export type Transport = "websocket" | "sse";

/** How things stand. */
export type State =
  /** The first attempt. */
  | { name: "connecting" }
  | { name: "live"; transport: Transport }
  /** What was missed is coming: so many events until now. */
  | { name: "catching-up"; transport: Transport; count: number }
  /** Connected, but the server does not hear its broker; since when (milliseconds since 1970), where known. */
  | { name: "stalled"; transport: Transport; since?: number }
  /** `at` is when it is tried (milliseconds since 1970), null while it is being tried. */
  | { name: "reconnecting"; at: number | null }
  /** A token is missing, bad or expired: `setToken` goes on. */
  | { name: "unauthorized"; reason?: string }
  /** By `close`, or for good by the server (`code` and `reason`); `retry` tries nevertheless. */
  | { name: "stopped"; code?: number; reason?: string };

export type Token = string | null | undefined;
/** A function is asked before each attempt. */
export type TokenSource = Token | (() => Token | Promise<Token>);

export interface Handlers {
  /** Each event once, in order; `text` is its JSON as it was sent. */
  event?(event: LiveEvent, text: string): void;
  /** On every change. */
  state?(state: State): void;
  /** Events are lost to this connection, between those before and those after. */
  gap?(gap: { reason?: "retention" | "epoch"; after?: string; before?: string }): void;
  /** Forget the events of the person whose address has this hash. */
  erased?(recipient: string): void;
  /** The server took a new token, good until then. */
  token?(expiresAt: unknown): void;
  /** The server complains of what it was sent. */
  error?(detail: string): void;
}

export interface Options {
  /** The service's address; where this file came from, unless it is set. */
  base?: string | URL;
  filter?: Filter;
  /** A cursor: everything after it. */
  since?: string | null;
  /**
   * Without `since`: begin with so many of the newest events, at most 1000. Also after a loss that cannot be made
   * good; a connection without `last` goes on at the oldest event that is kept.
   */
  last?: number;
  token?: TokenSource;
  /** `auto` begins with a WebSocket. */
  transport?: "auto" | Transport;
  on?: Handlers;
}

/** Opens a connection that lasts until it is closed. */
export function connect(options?: Options): Connection;

export class Connection {
  /** The place of the newest event, to go on from; null before the first session. */
  readonly cursor: string | null;
  readonly state: State;
  /** Ends it. */
  close(): void;
  /** The reader wants it now, also where it was given up. */
  retry(): void;
  /** The network or the tab changed: find out now how things stand. */
  check(): void;
  /** Another token, for the running session and for all to come. */
  setToken(token: TokenSource): void;
  /** Another filter from here on. What was before is not sent again: for that, open another connection. */
  setFilter(filter: Filter): void;
}
