// The word list and the phrases: one entry per line, `text` or `text = number`; kept in this tab.

import { text } from "./texts.js";

export class ListField {
  constructor(id, { allowed, usual }) {
    this.field = document.getElementById(id);
    this.error = document.getElementById(`${id}-error`);
    this.allowed = allowed; // says whether a number is allowed
    this.usual = usual; // the number of an entry without one
    this.field.value = sessionStorage.getItem(`asr.${id}`) ?? "";
    this.field.addEventListener("input", () => {
      sessionStorage.setItem(`asr.${id}`, this.field.value);
      this.show("");
    });
  }

  /** {text: number}; null after showing what is wrong beside the field. */
  read() {
    const entries = new Map();
    for (const [k, line] of this.field.value.split("\n").entries()) {
      if (!line.trim()) continue;
      const [, entry, number] = line.match(/^([^=\t]*)(?:[=\t](.*))?$/) ?? [];
      const name = entry?.trim().replace(/\s+/g, " ");
      const value = number === undefined ? this.usual : Number(number.trim() || NaN);
      if (!name || !this.allowed(value)) return this.show(text("badLine", { line: k + 1 }));
      if (entries.has(name)) return this.show(text("twice", { line: k + 1, text: name }));
      entries.set(name, value);
    }
    this.show("");
    return Object.fromEntries(entries);
  }

  show(message) {
    this.error.textContent = message;
    this.field.setAttribute("aria-invalid", message !== "");
    if (!message) return null;
    this.field.closest("details")?.setAttribute("open", "");
    this.field.focus();
    return null;
  }
}
