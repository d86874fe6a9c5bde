// The header's word about the connection.

import { $, write } from "./dom.js";
import { connectionWords, secondsLeft } from "./words.js";

export class ConnectionStatus {
  #output = $("#connection");
  #text = $("#connection [data-part=text]");
  #button = $("#reconnect");
  #countdown = document.createElement("span");
  #state = null;

  /** @param on hears `retry()` and `signIn()` */
  constructor(on) {
    this.#button.addEventListener("click", () => (this.#state?.name === "unauthorized" ? on.signIn() : on.retry()));
    // The count-down is for the eye: it has an element of its own, which is not read aloud each second.
    this.#countdown.ariaHidden = "true";
    this.#output.append(this.#countdown);
  }

  show(state) {
    this.#state = state;
    const { text, title } = connectionWords(state);
    this.#output.dataset.state = state.name;
    this.#output.title = title;
    write(this.#text, text);
    const label = { stopped: "Try again", unauthorized: "Sign in", reconnecting: "Retry now" }[state.name];
    this.#button.hidden = !label || (state.name === "reconnecting" && !state.at);
    if (label) this.#button.textContent = label;
    this.tick(Date.now());
  }

  /** Time went on. */
  tick(now) {
    const seconds = secondsLeft(this.#state, now);
    write(this.#countdown, seconds === null ? "" : ` in ${seconds} s`);
  }
}
