// Requests to the service: with the token, within time, and an error that says in words what is the matter.

import { elementsOf } from "./json.js";

/** For an answer's head. */
const TIMEOUT_MS = 20_000;

/** What the service answers when it does not answer as asked. */
export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export class Api {
  #base;
  #token;

  /** How far the server's clock is ahead of ours, in milliseconds; the answers' `Date` has whole seconds. */
  skewMs = 0;

  /** @param token a function that gives the token or null */
  constructor(base, token) {
    this.#base = base;
    this.#token = token;
  }

  /** The server's time. */
  now() {
    return Date.now() + this.skewMs;
  }

  url(path) {
    return new URL(path, this.#base).href;
  }

  async json(path) {
    return (await this.answer(path)).json();
  }

  /** A page of stored events: each as an object and as the text it was stored as. */
  async events(path) {
    const text = await (await this.answer(path)).text();
    const { events, next } = JSON.parse(text);
    const texts = elementsOf(text, "events");
    return { events: events.map((event, at) => ({ event, json: texts[at] ?? null })), next: next ?? null };
  }

  /** @throws {ApiError} */
  async answer(path, signal) {
    const token = this.#token();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const hurry = new AbortController();
    const timer = setTimeout(() => hurry.abort(), TIMEOUT_MS);
    try {
      const signals = signal ? AbortSignal.any([signal, hurry.signal]) : hurry.signal;
      const answer = await fetch(this.url(path), { headers, cache: "no-store", signal: signals });
      this.#readClock(answer);
      if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
      return answer;
    } catch (error) {
      if (error instanceof ApiError || signal?.aborted) throw error;
      throw new ApiError(0, hurry.signal.aborted ? "the service takes too long to answer" : "the service cannot be reached");
    } finally {
      clearTimeout(timer);
    }
  }

  #readClock(answer) {
    const date = Date.parse(answer.headers.get("Date") ?? "");
    const skew = date + 500 - Date.now();
    // Within a second both clocks agree as far as can be told.
    if (Number.isFinite(skew)) this.skewMs = Math.abs(skew) < 1_000 ? 0 : skew;
  }
}

async function reason(answer) {
  const problem = await answer.json().catch(() => null);
  const said = typeof problem?.detail === "string" ? problem.detail : typeof problem?.title === "string" ? problem.title : null;
  return said ?? `the service answers ${answer.status}`;
}
