// The words on the page: shaded by confidence, one stop for the Tab key, arrows between words; and their correction.

import { text } from "./texts.js";

const SURE = 0.9; // from here on, no shade
const UNSURE = 0.6; // below, a word is also underlined, and named as unsure to screen readers
const PARAGRAPH_S = 2; // a longer pause begins a new paragraph

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class Transcript {
  /** `on.choose(word)` when a word is reached, `on.play(word)` when it is clicked or Enter is pressed. */
  constructor(on) {
    this.on = on;
    this.words = document.getElementById("words");
    this.partial = document.getElementById("partial");
    this.placeholder = document.getElementById("placeholder");
    this.fields = document.getElementById("fields");
    this.shown = new Map(); // button -> word
    this.words.addEventListener("keydown", (event) => this.#move(event));
    this.words.addEventListener("click", ({ target }) => {
      if (this.shown.has(target)) this.on.play(this.shown.get(target));
    });
    this.words.addEventListener("focusin", ({ target }) => this.#reach(target));
    this.words.addEventListener("pointerover", ({ target }) => {
      if (this.shown.has(target)) this.on.choose(this.shown.get(target));
    });
  }

  /** Shows all utterances anew. */
  show(utterances) {
    this.shown.clear();
    this.words.replaceChildren();
    this.endS = null; // of the last utterance
    utterances.forEach((utterance) => this.add(utterance));
    this.setPartial([]);
  }

  add(utterance) {
    const paragraph = element("p", { className: this.#beginsParagraph(utterance.words) ? "apart" : "" });
    this.endS = utterance.words.at(-1)?.end_s ?? this.endS;
    for (const word of utterance.words) {
      const button = element("button", { type: "button", textContent: word.word, tabIndex: -1 });
      button.style.setProperty("--doubt", Math.max(0, 1 - word.confidence / SURE).toFixed(2));
      if (word.confidence < UNSURE) {
        button.classList.add("unsure");
        const percent = Math.round(word.confidence * 100);
        button.setAttribute("aria-label", text("unsureWord", { word: word.word, percent }));
      }
      if (word.accepted === false) button.classList.add("rejected");
      this.shown.set(button, word);
      paragraph.append(button, " ");
    }
    if (utterance.corrected) paragraph.append(element("span", { className: "mark", textContent: text("corrected") }));
    this.words.append(paragraph);
    if (!this.words.querySelector("[tabindex='0']")) this.words.querySelector("button")?.setAttribute("tabindex", "0");
    this.placeholder.hidden = true;
  }

  /** Words that may still change; the first `stable` of them will not. */
  setPartial(words, stable = 0) {
    const shown = words.map((word, k) =>
      element("span", { className: k < stable ? "stable" : "", textContent: word.word }));
    this.partial.className = this.#beginsParagraph(words) ? "apart" : "";
    this.partial.replaceChildren(...shown.flatMap((span) => [span, " "]));
    this.placeholder.hidden = words.length > 0 || this.shown.size > 0;
  }

  #beginsParagraph(words) {
    return words.length > 0 && this.endS !== null && words[0].start_s - this.endS > PARAGRAPH_S;
  }

  mark(word, on) {
    for (const [button, own] of this.shown) if (own === word) button.classList.toggle("playing", on);
  }

  #reach(target) {
    if (!this.shown.has(target)) return;
    this.words.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    target.tabIndex = 0;
    this.on.choose(this.shown.get(target));
  }

  #move(event) {
    const buttons = [...this.shown.keys()];
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    const line = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = line ? below(buttons, at, line) : buttons[to];
    if (at < 0 || !next) return;
    event.preventDefault();
    next.focus();
  }

  /** Text fields in place of the words, one per utterance. */
  edit(utterances) {
    this.fields.replaceChildren();
    utterances.forEach((utterance, k) => {
      const label = text("utterance", { number: k + 1, start: utterance.start_s.toFixed(1) });
      const id = `utterance-${k}`;
      const rows = Math.min(12, Math.ceil(utterance.text.length / 60));
      const field = element("textarea", { id, rows, value: utterance.text });
      this.fields.append(element("label", { htmlFor: id, textContent: label }), field);
    });
    this.words.hidden = true;
    this.fields.querySelector("textarea")?.focus();
  }

  edited() {
    return [...this.fields.querySelectorAll("textarea")].map((field) => field.value.trim().replace(/\s+/g, " "));
  }

  endEdit() {
    this.fields.replaceChildren();
    this.words.hidden = false;
  }
}

/** The word nearest to word `at` on the next line of text (`step` 1) or the one before (-1). */
function below(buttons, at, step) {
  const middle = (box) => box.left + box.width / 2;
  const here = buttons[at].getBoundingClientRect();
  let best = null;
  for (let k = at + step; k >= 0 && k < buttons.length; k += step) {
    const box = buttons[k].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < here.height / 2) continue;
    if (best && Math.abs(box.top - best.box.top) > box.height / 2) break;
    const away = Math.abs(middle(box) - middle(here));
    if (!best || away < best.away) best = { button: buttons[k], box, away };
  }
  return best?.button;
}
