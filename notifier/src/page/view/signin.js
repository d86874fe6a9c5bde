// Signing in: asks for a token where one is needed, says what it allows, and renews it while the session goes on.

import { $, write } from "./dom.js";
import { readToken } from "./token.js";
import { accessWords } from "./words.js";

/** This long before its end the reader is told. */
const ENDING_MS = 300_000;

export class SignIn {
  #api;
  #keeper;
  #on;
  #me = null;
  /** Whether there is no use in asking for anything before there is another token. */
  needed = false;
  #button = $("#access");
  #dialog = $("#token-dialog");
  #input = $("#token");
  #error = $("#token-error");

  /** @param on hears `token(token)`, which is null where it was forgotten */
  constructor(api, keeper, on) {
    this.#api = api;
    this.#keeper = keeper;
    this.#on = on;
    this.#button.addEventListener("click", () => this.open(""));
    $("#token-cancel").addEventListener("click", () => this.#dialog.close());
    $("#token-forget").addEventListener("click", () => this.#use(null));
    $("#token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submitted();
    });
  }

  open(why) {
    $("#token-dialog [data-part=why]").textContent = why;
    $("#token-forget").hidden = !this.#keeper.token;
    this.#error.textContent = "";
    this.#input.value = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#input.focus();
  }

  /** What the service says this reader may see. Where that is nothing, a token is asked for. */
  async load() {
    try {
      this.#me = await this.#api.json("api/me");
      this.needed = this.#me.sign_in?.token === true && !this.#me.scopes?.includes("events:read");
    } catch (error) {
      this.#me = null; // Else the connection says what is the matter.
      if (error.status === 401) this.refused(error.message);
    }
    this.show();
  }

  /** The service wants a token, or another one. */
  refused(why) {
    this.needed = true;
    this.open(why || "The service wants to know who you are.");
  }

  /** The service took a new token. */
  accepted() {
    this.needed = false;
    if (this.#dialog.open) this.#dialog.close();
    this.load();
  }

  /** Also as time goes on. */
  show() {
    const now = this.#api.now();
    const words = accessWords(this.#me, now);
    this.#button.hidden = words === null;
    if (words === null) return;
    write(this.#button, words);
    this.#button.title = this.#me.subject ? `Signed in as ${this.#me.subject}` : "";
    const left = this.#me.expires_at ? this.#me.expires_at - now : Infinity;
    this.#button.dataset.mood = left < ENDING_MS ? "bad" : "quiet";
  }

  #submitted() {
    const token = readToken(this.#input.value);
    if (token) return this.#use(token);
    this.#error.textContent = "This is no token: it has characters that no token has.";
    this.#input.focus();
  }

  #use(token) {
    this.needed = false;
    this.#keeper.token = token;
    this.#dialog.close();
    this.#on.token(token);
  }
}
