// The mode, its word list or phrases, and what they add to a request.

import { ListField } from "./lists.js";
import { modeHint, modeName, text } from "./texts.js";

const STORED = "asr.mode";

const $ = (id) => document.getElementById(id);

export class Modes {
  constructor() {
    this.names = [];
    this.chosen = sessionStorage.getItem(STORED);
    this.words = new ListField("word-list", { allowed: (weight) => weight > 0 && weight < Infinity, usual: 1 });
    this.phrases = new ListField("phrase-list", { allowed: Number.isFinite, usual: 3 });
    $("modes").onchange = ({ target }) => {
      this.chosen = target.value;
      sessionStorage.setItem(STORED, this.chosen);
      this.#describe();
    };
  }

  /** Offers the modes of the server. */
  offer(names) {
    this.names = names;
    if (!names.includes(this.chosen)) this.chosen = names[0];
    this.show();
  }

  /** Draws the choice in the page's language. */
  show() {
    const labels = this.names.map((value) => {
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "mode", value, checked: value === this.chosen, disabled: this.locked });
      const label = document.createElement("label");
      label.append(input, modeName(value));
      return label;
    });
    $("segments").replaceChildren(...labels);
    $("segments").hidden = labels.length === 0;
    this.#describe();
  }

  lock(locked) {
    this.locked = locked;
    for (const input of document.querySelectorAll("#modes input")) input.disabled = locked;
  }

  /** What the request says beside the sound; null after showing a mistake in a list. */
  request() {
    const mode = this.chosen;
    const name = mode === "word" ? "words" : "phrases";
    const entries = this[name].read();
    if (!entries) return null;
    if (Object.keys(entries).length) return { mode, [name]: entries };
    return mode === "word" ? this.words.show(text("wordListEmpty")) : { mode };
  }

  #describe() {
    $("mode-hint").textContent = modeHint(this.chosen);
    $("words-panel").hidden = this.chosen !== "word";
    $("phrases-panel").hidden = this.chosen === "word";
  }
}
