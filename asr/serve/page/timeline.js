// The canvas: spectrogram, words and seconds below. It scrolls with the sound and follows it while it grows.

import { BANDS, PIXELS_PER_S, Spectrum } from "./spectrum.js";

const PICTURE = 112; // heights in pixels
const WORDS = 28;
const SECONDS = 18;
const DEPTH = 140; // levels of the spectrum between the loudest and the background colour
const FAINTEST = 150; // the loudest level of a recording counts as at least this, so that silence looks silent

export class Timeline {
  /** `onPlay(word)` when a word of the picture is clicked. */
  constructor(onPlay) {
    this.box = document.getElementById("timeline");
    this.scroller = document.getElementById("scroller");
    this.spacer = document.getElementById("length");
    this.canvas = document.getElementById("spectrogram");
    this.words = [];
    this.chosen = null;
    this.following = false; // whether the newest sound is kept in view
    const redraw = () => this.draw();
    this.scroller.addEventListener("scroll", () => {
      this.following = this.scroller.scrollLeft + this.scroller.clientWidth > this.spacer.offsetWidth - 40;
      redraw();
    });
    new ResizeObserver(redraw).observe(this.scroller);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours = null;
      redraw();
    });
    this.canvas.addEventListener("click", ({ offsetX }) => {
      const timeS = (this.scroller.scrollLeft + offsetX) / PIXELS_PER_S;
      const word = this.words.find(({ start_s, end_s }) => start_s <= timeS && timeS < end_s);
      if (word) onPlay(word);
    });
  }

  /** Shows a recording with its words; null hides the canvas. */
  open(recording, words) {
    if (recording !== this.spectrum?.recording) {
      this.spectrum = recording && new Spectrum(recording);
      this.scroller.scrollLeft = 0;
      this.following = false;
    }
    this.box.hidden = !recording;
    this.chosen = null;
    this.words = words;
    this.grown();
  }

  /** The recording became longer. */
  grown() {
    if (!this.spectrum) return;
    const width = Math.floor(this.spectrum.recording.durationS * PIXELS_PER_S);
    this.spacer.style.width = `${width}px`;
    if (this.following) this.scroller.scrollLeft = width;
    this.draw();
  }

  setWords(words) {
    this.words = words;
    this.draw();
  }

  /** Marks a word and scrolls to it. */
  choose(word) {
    this.chosen = word;
    if (!this.spectrum) return;
    const [left, right] = [word.start_s * PIXELS_PER_S, word.end_s * PIXELS_PER_S];
    const { scrollLeft, clientWidth } = this.scroller;
    if (left < scrollLeft || right > scrollLeft + clientWidth) this.scroller.scrollLeft = left - clientWidth / 3;
    this.draw();
  }

  draw() {
    if (!this.spectrum || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#paint();
    });
  }

  #paint() {
    const { canvas, scroller } = this;
    const [width, scale] = [scroller.clientWidth, window.devicePixelRatio];
    if (!width) return;
    const height = PICTURE + WORDS + SECONDS;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    this.colours ??= colours(canvas);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.save();
    this.#paintSpectrum(context, width);
    context.restore();
    context.translate(-scroller.scrollLeft, 0);
    this.#paintSeconds(context);
    this.#paintWords(context, width);
  }

  #paintSpectrum(context, width) {
    context.fillStyle = this.colours.background;
    context.beginPath();
    context.roundRect(0, 0, width, PICTURE, 6);
    context.fill();
    context.clip();
    const first = Math.round(this.scroller.scrollLeft);
    const count = Math.min(width, this.spectrum.length - first);
    if (count <= 0) return;
    const columns = Array.from({ length: count }, (_, x) => this.spectrum.column(first + x));
    const image = new ImageData(count, BANDS);
    const pixels = new Uint32Array(image.data.buffer);
    const deepest = Math.max(FAINTEST, this.spectrum.loudest) - DEPTH;
    for (let x = 0; x < count; x++) {
      for (let band = 0; band < BANDS; band++) {
        const level = Math.max(0, Math.min(255, Math.round(((columns[x][band] - deepest) / DEPTH) * 255)));
        pixels[(BANDS - 1 - band) * count + x] = this.colours.levels[level];
      }
    }
    const picture = new OffscreenCanvas(count, BANDS);
    picture.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(picture, 0, 0, count, PICTURE);
  }

  #paintSeconds(context) {
    const { colours } = this;
    const last = (this.scroller.scrollLeft + this.scroller.clientWidth) / PIXELS_PER_S;
    context.font = `11px ${colours.font}`;
    context.fillStyle = colours.quiet;
    context.textBaseline = "middle";
    for (let second = Math.floor(this.scroller.scrollLeft / PIXELS_PER_S); second <= last; second++) {
      const x = second * PIXELS_PER_S;
      context.fillRect(x, PICTURE + WORDS, 1, 5);
      context.fillText(`${second} s`, x + 4, PICTURE + WORDS + 10);
    }
  }

  #paintWords(context, width) {
    const { colours, words } = this;
    const firstS = this.scroller.scrollLeft / PIXELS_PER_S;
    const lastS = (this.scroller.scrollLeft + width) / PIXELS_PER_S;
    context.font = `13px ${colours.font}`;
    for (const [k, word] of words.entries()) {
      if (word.end_s < firstS - 1 || word.start_s > lastS) continue;
      const [left, right] = [word.start_s * PIXELS_PER_S, word.end_s * PIXELS_PER_S];
      const chosen = word === this.chosen;
      context.fillStyle = chosen ? colours.accent : colours.line;
      context.globalAlpha = chosen ? 0.18 : 1;
      if (chosen) context.fillRect(left, 0, right - left, PICTURE + WORDS);
      context.globalAlpha = 1;
      context.fillRect(left, PICTURE + 3, Math.max(2, right - left), 2);
      context.fillStyle = word.partial ? colours.quiet : colours.text;
      const room = (words[k + 1]?.start_s ?? Infinity) * PIXELS_PER_S - left - 4;
      context.fillText(fitted(context, word.word, room), left, PICTURE + 16);
    }
  }
}

function fitted(context, word, room) {
  if (context.measureText(word).width <= room) return word;
  let shown = [...word];
  while (shown.length && context.measureText(shown.join("") + "…").width > room) shown = shown.slice(0, -1);
  return shown.length ? shown.join("") + "…" : "";
}

/** The colours of the style sheet, and a scale of 256 from the background to the loudest sound. */
function colours(canvas) {
  const style = getComputedStyle(canvas);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const ramp = new OffscreenCanvas(256, 1).getContext("2d");
  const gradient = ramp.createLinearGradient(0, 0, 256, 0);
  ["spectrum-0", "spectrum-1", "spectrum-2", "spectrum-3"].forEach((name, k) => gradient.addColorStop(k / 3, named(name)));
  ramp.fillStyle = gradient;
  ramp.fillRect(0, 0, 256, 1);
  const levels = new Uint32Array(ramp.getImageData(0, 0, 256, 1).data.buffer);
  const [text, quiet, accent, line] = ["text", "quiet", "accent", "line-strong"].map(named);
  return { levels, background: named("spectrum-0"), text, quiet, accent, line, font: style.fontFamily };
}
