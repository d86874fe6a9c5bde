// The settings dialog.

import { $ } from "./dom.js";

export class Preferences {
  #settings;
  #alerts;
  #dialog = $("#settings-dialog");
  #form = $("#settings-dialog form");
  #note = $("#notify-note");

  constructor(settings, alerts) {
    this.#settings = settings;
    this.#alerts = alerts;
    $("#open-settings").addEventListener("click", () => this.open());
    this.#form.addEventListener("change", ({ target }) => this.#changed(target));
  }

  open() {
    for (const input of this.#form.querySelectorAll("input")) {
      const value = this.#settings.get(input.name);
      input.checked = input.name === "theme" ? input.value === value : input.name === "notify" ? value.includes(input.value) : value;
    }
    this.#tellNotifications();
    this.#dialog.showModal();
  }

  async #changed(input) {
    if (input.name === "theme") return this.#settings.set("theme", input.value);
    if (input.name !== "notify") return this.#settings.set(input.name, input.checked);
    // Asked for when somebody wants it, and not before.
    if (input.checked && globalThis.Notification?.permission === "default") await Notification.requestPermission();
    const checked = [...this.#form.querySelectorAll("[name=notify]:checked")].map(({ value }) => value);
    this.#settings.set("notify", checked);
    this.#tellNotifications();
  }

  #tellNotifications() {
    const wanted = this.#settings.get("notify").length > 0;
    const words = !this.#alerts.possible ? "This browser has no notifications for pages."
      : Notification.permission === "granted" ? "" : "The browser does not allow them: change that in its settings for this site.";
    this.#note.textContent = wanted ? words : "";
  }
}
