// Words as txt, srt and vtt, by the rules of `asr transcribe`; asr/recognizer/formats.py explains them.

const LINE_WIDTH = 42;
const LONGEST_S = 7;
const SHORTEST_S = 1;
const PAUSE_S = 1;
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u;

const width = (text) => [...text].reduce((sum, letter) => sum + (WIDE.test(letter) ? 2 : 1), 0);

/** One or two lines of similar width; null if the words do not fit. A single word always fits. */
function lines(words) {
  const texts = words.map((word) => word.word);
  const whole = texts.join(" ");
  if (texts.length === 1 || width(whole) <= LINE_WIDTH) return [whole];
  let best = null;
  for (let k = 1; k < texts.length; k++) {
    const halves = [texts.slice(0, k).join(" "), texts.slice(k).join(" ")];
    const widest = Math.max(...halves.map(width));
    if (widest <= LINE_WIDTH && (best === null || widest < best.widest)) best = { halves, widest };
  }
  return best?.halves ?? null;
}

function cues(words) {
  const found = [];
  for (let start = 0; start < words.length; ) {
    const gap = (k) => words[k].start_s - words[k - 1].end_s;
    let end = start + 1;
    let fits = true;
    for (; end < words.length && gap(end) < PAUSE_S; end++) {
      const run = words.slice(start, end + 1);
      fits = run.at(-1).end_s - run[0].start_s <= LONGEST_S && lines(run) !== null;
      if (!fits) break;
    }
    if (!fits) {
      const middle = start + Math.floor((end - start + 1) / 2);
      for (let k = end - 1, longest = gap(end); k >= middle; k--) if (gap(k) > longest) [longest, end] = [gap(k), k];
    }
    found.push(words.slice(start, end));
    start = end;
  }
  return found;
}

function clock(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = [ms / 3600000, (ms / 60000) % 60, (ms / 1000) % 60].map((part) => two(Math.floor(part))).join(":");
  return time + point + String(ms % 1000).padStart(3, "0");
}

function subtitles(words, durationS, point) {
  const found = cues(words);
  return found.map((cue, k) => {
    const startS = cue[0].start_s;
    const nextS = found[k + 1]?.[0].start_s ?? Math.max(durationS, 0);
    const spokenS = Math.min(cue.at(-1).end_s, startS + LONGEST_S);
    const endS = Math.max(spokenS, Math.min(startS + SHORTEST_S, nextS), startS + 0.001);
    return { times: `${clock(startS, point)} --> ${clock(endS, point)}`, text: lines(cue).join("\n") };
  });
}

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** The file's content. `utterances` have `text` and `words`; a line of txt is one utterance. */
export function render(format, utterances, durationS) {
  if (format === "txt") return utterances.map((utterance) => utterance.text + "\n").join("");
  const words = utterances.flatMap((utterance) => utterance.words).filter((word) => word.accepted !== false);
  if (format === "srt") {
    const cuesOf = subtitles(words, durationS, ",");
    return cuesOf.map(({ times, text }, k) => `${k + 1}\n${times}\n${text}\n`).join("\n");
  }
  return "WEBVTT\n" + subtitles(words, durationS, ".").map(({ times, text }) => `\n${times}\n${escaped(text)}\n`).join("");
}
