// The page: what the buttons do, and what it says when something goes wrong.

import { Failure, recognize, sendCorrection } from "./api.js";
import { retime } from "./corrections.js";
import { onDrop } from "./drop.js";
import { LiveStream } from "./live.js";
import { openMicrophone, reason } from "./microphone.js";
import { Modes } from "./modes.js";
import { explain, greet, notice, onKey } from "./notices.js";
import { LONGEST_S, Player, Recording, decode } from "./recording.js";
import { render } from "./subtitles.js";
import { show, text } from "./texts.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const MUTED_S = 3; // of nothing but silence before the page asks about the microphone
const SILENT_DB = -72;

const $ = (id) => document.getElementById(id);
const player = new Player();
const timeline = new Timeline(play);
const transcript = new Transcript({ choose, play });
const modes = new Modes();

let take = null; // {name, kind, recording, utterances}: what the page shows
let previous = null; // the take before it
let server = {}; // what it tells about itself
let state = "idle"; // idle, asking, live, finishing, file, editing
let stop = null; // ends `live` and `file`

// ---- states

function enter(next, message = "") {
  state = next;
  $("speak").dataset.state = next;
  // A disabled button would lose the keyboard's focus.
  $("speak").ariaDisabled = ["asking", "finishing", "editing"].includes(next);
  const label = { asking: "asking", live: "stop", file: "stop", finishing: "finishing" }[next] ?? "speak";
  $("speak-label").dataset.text = label;
  $("speak-label").textContent = text(label);
  const idle = next === "idle";
  $("open").ariaDisabled = !idle;
  modes.lock(!idle);
  $("level").hidden = $("clock").hidden = next !== "live";
  $("results").hidden = !idle || !take?.utterances.length;
  $("correct").hidden = !take?.utterances.some((utterance) => utterance.id);
  $("restore").hidden = !idle || !previous;
  say(message);
}

function say(message) {
  if ($("status").textContent !== message) $("status").textContent = message;
}

// ---- takes

function begin(kind, name, recording) {
  if (take?.utterances.length) previous = take;
  take = { kind, name, recording, utterances: [] };
  showTake();
}

function showTake() {
  const utterances = take?.utterances ?? [];
  transcript.show(utterances);
  timeline.open(take?.recording ?? null, utterances.flatMap((utterance) => utterance.words));
  $("word-details").textContent = "";
}

/** After a failure: a take without words makes way for the one before. */
function giveUp() {
  if (!take.utterances.length) [take, previous] = [previous, null];
  showTake();
  enter("idle");
}

function restore() {
  [take, previous] = [previous, take?.utterances.length ? take : null];
  showTake();
  enter("idle");
  $("speak").focus();
}

function choose(word) {
  const percent = Math.round(word.confidence * 100);
  const [start, end] = [word.start_s.toFixed(2), word.end_s.toFixed(2)];
  $("word-details").textContent = text("details", { word: word.word, start, end, percent });
  timeline.choose(word);
}

function play(word) {
  choose(word);
  if (state === "live" || !take.recording) return; // the microphone would hear it
  transcript.mark(word, true);
  player.play(take.recording, word.start_s, word.end_s, () => transcript.mark(word, false));
}

// ---- speech

async function speak() {
  const asked = modes.request();
  if (!asked) return;
  notice("");
  player.stop();
  enter("asking");
  let microphone;
  let heard = () => {};
  try {
    microphone = await openMicrophone({ onBlock: (block) => heard(block), onLost: () => lose("unplugged") });
  } catch (error) {
    enter("idle");
    if (error instanceof Failure) return explain(error, { retry: speak });
    const name = reason(error);
    return notice(name ? text(name) : text("failed", { message: error.message }), speak);
  }
  if (take?.kind !== "speech" || take.recording.rateHz !== microphone.rateHz) {
    const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString();
    begin("speech", `speech-${now.slice(0, 16).replace(/[T:]/g, "-")}`, new Recording(microphone.rateHz));
  }
  await listen(microphone, asked, (listener) => (heard = listener));
}

async function listen(microphone, asked, hear) {
  const { recording } = take;
  const offsetS = recording.durationS;
  const stream = new LiveStream(recording, asked, {
    partial: (message) => showPartial(shifted(message.words, offsetS), message.stable),
    final: (message) => addUtterance(message, stream, offsetS),
    broken: () => say(text("reconnecting")),
    mended: () => say(text("listening")),
  });
  let quietS = 0;
  timeline.following = true;
  hear((block) => {
    recording.append(block);
    stream.send();
    timeline.grown();
    const db = loudness(block);
    quietS = db < SILENT_DB ? quietS + block.length / recording.rateHz : 0;
    if (quietS > MUTED_S) say(text("quiet"));
    else if (quietS === 0 && $("status").textContent === text("quiet")) say(text("listening"));
    $("level").style.setProperty("--level", Math.max(0, Math.min(1, (db + 60) / 60)).toFixed(2));
    $("clock").textContent = clock(recording.durationS);
    if (recording.durationS >= LONGEST_S) lose("tooLong");
  });
  stop = async () => {
    enter("finishing");
    await microphone.stop();
    stream.close();
  };
  enter("live", text("listening"));
  try {
    await stream.finished;
    showPartial([]);
    enter("idle", text(take.utterances.length ? "done" : "nothing"));
  } catch (failure) {
    if (state === "live") await microphone.stop();
    const saved = take.utterances.length > 0;
    giveUp();
    explain(failure, { retry: speak, saved });
  }
}

function lose(name) {
  if (state !== "live") return;
  stop();
  notice(text(name));
}

function loudness(block) {
  const power = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
  return 10 * Math.log10(power / 2 ** 30 + 1e-12);
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

const shifted = (words, offsetS) =>
  words.map((word) => ({ ...word, start_s: word.start_s + offsetS, end_s: word.end_s + offsetS }));

function showPartial(words, stable) {
  transcript.setPartial(words, stable);
  const partial = words.map((word) => ({ ...word, partial: true }));
  timeline.setWords([...take.utterances.flatMap((utterance) => utterance.words), ...partial]);
}

function addUtterance(message, stream, offsetS) {
  const { id, text: said, utterance: number } = message;
  const words = shifted(message.words, offsetS);
  // After a broken connection the server may send an utterance again.
  if (!words.length || take.utterances.some((own) => own.stream === stream && own.number === number)) return;
  const [start_s, end_s] = [message.start_s + offsetS, message.end_s + offsetS];
  const utterance = { stream, number, id, text: said, words, start_s, end_s };
  take.utterances.push(utterance);
  transcript.add(utterance);
  showPartial([]);
  $("spoken").append(Object.assign(document.createElement("p"), { textContent: said }));
  $("transcript").scrollTop = $("transcript").scrollHeight;
}

// ---- files

async function openFile(file) {
  const asked = modes.request();
  if (!asked) return;
  notice("");
  player.stop();
  begin("file", file.name.replace(/\.[^.]*$/, ""), null);
  const own = take;
  const cancel = new AbortController();
  stop = () => cancel.abort();
  enter("file", text("sending", { name: file.name }));
  const decoding = decode(file).then((recording) => {
    if (take !== own || !recording) return;
    take.recording = recording;
    showTake();
  });
  try {
    const answer = await recognize(file, asked, cancel.signal);
    await decoding;
    showAnswer(answer);
  } catch (failure) {
    giveUp();
    if (failure.name !== "AbortError") explain(failure, { retry: () => openFile(file) });
  }
}

function showAnswer({ id, text: said, words, duration_s, rejected, ignored = [] }) {
  if (words.length) {
    take.utterances = [{ id, text: said, words, start_s: 0, end_s: duration_s }];
    $("spoken").append(Object.assign(document.createElement("p"), { textContent: said }));
  }
  showTake();
  enter("idle", text(!words.length ? "nothing" : rejected ? "rejected" : take.recording ? "done" : "undrawn"));
  if (ignored.length) notice(text("ignored", { phrases: ignored.join(", ") }));
}

// ---- results

function download(format) {
  const durationS = take.recording?.durationS ?? take.utterances.at(-1).end_s;
  const blob = new Blob([render(format, take.utterances, durationS)], { type: "text/plain;charset=utf-8" });
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(blob),
    download: `${take.name}.${format}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function correct() {
  enter("editing");
  $("editor").hidden = false;
  $("send").textContent = text(server.takes_corrections ? "send" : "keep");
  transcript.edit(take.utterances);
}

async function sendEdits() {
  notice("");
  const edited = transcript.edited();
  let [sent, kept] = [0, 0];
  for (const [k, utterance] of take.utterances.entries()) {
    if (edited[k] === utterance.text) continue;
    try {
      if (!server.takes_corrections) kept++;
      else await sendCorrection(utterance.id, edited[k]).then(() => sent++);
    } catch (failure) {
      if (failure.status !== 404) return explain(failure, { retry: sendEdits }); // the fields stay as they are
      kept++; // the server no longer has the answer
    }
    const words = retime(utterance.words, edited[k], utterance.start_s, utterance.end_s);
    Object.assign(utterance, { text: edited[k], words, corrected: true });
  }
  endEdit(kept ? text("kept", { count: kept }) : sent ? text("sent", { count: sent }) : text("unchanged"));
}

function endEdit(message = "") {
  $("editor").hidden = true;
  transcript.endEdit();
  showTake();
  enter("idle", message);
  $("correct").focus();
}

function speakLanguage(chosen) {
  show(chosen);
  modes.show();
  if (state !== "editing") transcript.show(take?.utterances ?? []);
}

// ---- events

$("speak").onclick = () => {
  if (state === "idle") speak();
  else if (state === "live" || state === "file") stop();
};
$("open").onclick = () => state === "idle" && $("file").click();
$("file").onchange = ({ target }) => {
  if (target.files[0]) openFile(target.files[0]);
  target.value = "";
};
$("correct").onclick = correct;
$("cancel").onclick = () => endEdit();
$("editor").onsubmit = (event) => {
  event.preventDefault();
  sendEdits();
};
$("editor").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) sendEdits();
};
$("clear").onclick = () => {
  player.stop();
  [previous, take] = [take, null];
  showTake();
  enter("idle");
  $("speak").focus();
};
$("restore").onclick = restore;
for (const button of document.querySelectorAll("[data-format]")) button.onclick = () => download(button.dataset.format);
for (const button of document.querySelectorAll("[data-language]")) {
  button.onclick = () => speakLanguage(button.dataset.language);
}

onDrop(() => state === "idle", openFile);
addEventListener("beforeunload", (event) => {
  if (state === "live" || state === "editing") event.preventDefault();
});

const meet = () => greet((told) => {
  server = told;
  modes.offer(server.modes);
  $("transcript").lang = server.language ?? "";
});
onKey(meet);
speakLanguage();
meet();
