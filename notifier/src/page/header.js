// The header: how the connection stands, in words that are true, and what was seen.

export class ConnectionStatus {
  #output;
  #text;
  #button;
  #countdown;
  #state = null;

  constructor(document, reconnect) {
    this.#output = document.querySelector("#connection");
    this.#text = this.#output.querySelector("[data-part=text]");
    this.#button = document.querySelector("#reconnect");
    this.#button.addEventListener("click", reconnect);
    // The count-down is for the eye: it has an element of its own, which is not read aloud each second.
    this.#countdown = document.createElement("span");
    this.#countdown.ariaHidden = "true";
    this.#output.append(this.#countdown);
  }

  show(state) {
    this.#state = state;
    this.#output.dataset.state = state.name;
    this.#output.title = explanation(state);
    if (this.#text.textContent !== words(state)) this.#text.textContent = words(state);
    this.#button.hidden = state.name !== "stopped" && !(state.name === "reconnecting" && state.at);
    this.#button.textContent = state.name === "stopped" ? "Try again" : "Retry now";
    this.tick(Date.now());
  }

  /** Time went on. */
  tick(now) {
    const countdown = secondsLeft(this.#state, now);
    this.#countdown.textContent = countdown === null ? "" : ` in ${countdown} s`;
  }
}

/** What a state is called. */
export function words(state) {
  switch (state.name) {
    case "connecting":
      return "Connecting…";
    case "live":
      return "Live";
    case "stalled":
      return "Connected, but the event store is silent";
    case "reconnecting":
      return state.at ? "Not connected. Retrying" : "Reconnecting…";
    default:
      return stopped(state);
  }
}

function stopped({ code, reason }) {
  switch (code) {
    case 4401:
      return "Stopped: sign-in is needed or has expired";
    case 4403:
      return "Stopped: not allowed to see these events";
    case undefined:
      return "Disconnected";
    default:
      return `Stopped by the server: ${reason || `code ${code}`}`;
  }
}

function explanation(state) {
  switch (state.name) {
    case "live":
      return "Events appear as they arrive";
    case "stalled":
      return "Events that arrive meanwhile are kept and appear when the store answers again";
    case "reconnecting":
      return "Events that arrive meanwhile are kept and appear after the connection is back";
    default:
      return "";
  }
}

function secondsLeft(state, now) {
  if (state?.name !== "reconnecting" || !state.at) return null;
  return Math.max(1, Math.ceil((state.at - now) / 1000));
}

/** The counters, written only where a number changed. */
export class Summary {
  #values = new Map();

  constructor(document) {
    for (const element of document.querySelectorAll("#summary [data-counter]")) {
      this.#values.set(element.dataset.counter, element.querySelector("dd"));
    }
  }

  show(tally, perSecond) {
    this.#write("rate", perSecond.toLocaleString(undefined, { maximumFractionDigits: perSecond < 10 ? 1 : 0 }));
    this.#write("seen", tally.seen.toLocaleString());
    for (const [name, count] of Object.entries(tally.counts)) this.#write(name, count.toLocaleString());
  }

  #write(name, text) {
    const element = this.#values.get(name);
    if (element.textContent === text) return;
    element.textContent = text;
    element.parentElement.toggleAttribute("data-some", text !== "0");
  }
}
