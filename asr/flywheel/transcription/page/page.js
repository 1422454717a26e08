// The page: one recording at a time, by the keyboard.

const BREAK_S = 30; // longer pauses are no work
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5];
const [field, audio, wave, head] = ["text", "audio", "wave", "head"].map((id) => document.getElementById(id));
const element = (id) => document.getElementById(id);
const sounds = new Sounds();
let work, saver, item;
let touchedMs = 0;
let formNumber = 0;
let isSilence = false; // an empty text was accepted once
let savedState = ["saved", ""];

/** Counts the time since the last sign of work to the recording. */
function touch() {
  const now = Date.now();
  if (item && touchedMs) item.spent_s += Math.min(BREAK_S, (now - touchedMs) / 1000);
  touchedMs = now;
}

function told(state, why = "") {
  savedState = [state, why];
  element("saved").textContent = say(state, { why });
  element("saved").classList.toggle("failed", state === "unsaved" || state === "refused");
}

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

function showProgress() {
  const done = work.items.filter((each) => each.state === "done");
  const seconds = (items, name) => items.reduce((sum, each) => sum + each[name], 0);
  const left = seconds(work.items.filter((each) => each.state !== "done"), "duration_s");
  const pace = seconds(done, "spent_s") / Math.max(1e-9, seconds(done, "duration_s"));
  const time = done.length ? say("time", { minutes: Math.ceil((left * pace) / 60) }) : "";
  const values = { done: done.length, all: work.items.length, left: (left / 60).toFixed(1), time };
  element("progress").textContent = `${work.name} · ${say("progress", values)}`;
}

function showPlace() {
  const number = work.items.indexOf(item) + 1;
  const state = say(item.state) + (item.mark && item.state === "done" ? ` (${item.mark})` : "");
  const seconds = item.duration_s.toFixed(1);
  element("place").textContent = say("place", { number, all: work.items.length, id: item.id, seconds, state });
}

function showWords() {
  const buttons = item.words.map(({ word, start_s, end_s, confidence }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: word });
    button.style.setProperty("--unsure", Math.min(1, Math.max(0, 1 - confidence)));
    button.title = `${Math.round(100 * confidence)} %`;
    if (confidence < LOW) {
      button.classList.add("low");
      button.append(Object.assign(document.createElement("span"), { className: "unseen", textContent: ` ${say("unsure")}` }));
    }
    button.addEventListener("click", () => playFrom(start_s));
    return button;
  });
  element("words").replaceChildren(...(buttons.length ? buttons : [item.answered]));
}

function showVersions() {
  const lines = item.versions.map(({ by, text, mark }) => {
    const line = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: say("use") });
    button.addEventListener("click", () => (mark ? accept(mark) : type(text)));
    line.append(say("said", { by, text: mark ?? (text || say("silent")) }), " ", button);
    return line;
  });
  element("versions").replaceChildren(...lines);
  element("versions").hidden = !lines.length;
}

function listItem(each, number) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.addEventListener("click", () => show(number));
  const line = document.createElement("li");
  line.append(button);
  each.button = button;
  return line;
}

function showInList(each) {
  const text = each.text ?? each.answered;
  each.button.textContent = `${say(each.state)} · ${each.state === "done" && each.mark ? each.mark : text || "–"}`;
  each.button.setAttribute("aria-current", String(each === item));
}

async function show(number) {
  touch();
  const before = item;
  item = work.items[number];
  isSilence = false;
  audio.pause();
  audio.removeAttribute("src");
  const version = item.versions.find(({ mark }) => !mark);
  field.value = item.text ?? version?.text ?? item.answered;
  field.lang = item.lang ?? "";
  showPlace();
  showWords();
  showVersions();
  for (const each of [before, item]) if (each) showInList(each);
  checkForm();
  field.focus();
  await showSound(item);
  const following = work.items[number + 1];
  if (following) sounds.get(following.id).catch(() => {});
}

async function showSound(shown) {
  const canvas = wave.querySelector("canvas");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  try {
    const sound = await sounds.get(shown.id);
    if (item !== shown) return;
    notice("");
    draw(canvas, sound, shown.words, shown.duration_s);
    audio.src = sound.url;
    if (element("plays").checked) playFrom(0);
  } catch (error) {
    if (item === shown) notice(say("broken", { why: error.message }));
  }
}

function playFrom(seconds) {
  audio.currentTime = Math.max(0, seconds);
  audio.play().catch(() => {}); // before the first click or key, browsers play nothing
}

function step(by) {
  const number = work.items.indexOf(item) + by;
  if (number >= 0 && number < work.items.length) show(number);
}

function type(text) {
  field.value = text;
  typed();
  field.focus();
}

function typed() {
  touch();
  isSilence = false;
  item.text = field.value;
  item.state = "draft";
  const { id, text, spent_s } = item;
  saver.put({ id, state: work.settles ? "settling" : "draft", text, mark: null, spent_s }, DRAFT_MS);
  showPlace();
  showInList(item);
  showProgress();
  checkForm();
}

function accept(mark = null) {
  touch();
  if (!mark && !field.value.trim() && !isSilence) {
    isSilence = true;
    element("remarks").textContent = say("empty");
    return;
  }
  Object.assign(item, { state: "done", mark, text: field.value });
  const { id, text, spent_s } = item;
  saver.put({ id, state: work.settles ? "settled" : "done", text, mark, spent_s });
  showProgress();
  const at = work.items.indexOf(item);
  const order = [...work.items.slice(at + 1), ...work.items.slice(0, at)];
  const open = order.find((each) => each.state !== "done");
  if (open) {
    show(work.items.indexOf(open));
  } else {
    showPlace();
    showInList(item);
    notice(say("finished"));
  }
}

async function checkForm() {
  const [number, shown] = [++formNumber, item];
  await new Promise((resolve) => setTimeout(resolve, 200));
  if (number !== formNumber) return;
  const text = field.value;
  const found = await ask("form", { id: shown.id, text }).then((answer) => answer.json(), () => null);
  if (!found || number !== formNumber || isSilence) return;
  element("kept").textContent = found.text === text ? "" : say("kept", { text: found.text });
  const remarks = [];
  if (found.spoken !== null) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: say("use") });
    button.addEventListener("click", () => type(found.spoken));
    remarks.push(say("figures", { spoken: found.spoken }), button);
  }
  if (found.unknown) remarks.push(" ", say("unknown", { unknown: [...found.unknown].join(" ") }));
  element("remarks").replaceChildren(...remarks);
}

function changeSpeed(by) {
  const number = SPEEDS.indexOf(audio.playbackRate) + by;
  audio.defaultPlaybackRate = audio.playbackRate = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, number))];
  element("rate").textContent = audio.playbackRate === 1 ? "" : `× ${audio.playbackRate}`;
}

const ACTIONS = {
  accept: () => accept(),
  play: () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()),
  again: () => playFrom(audio.currentTime - 1),
  slower: () => changeSpeed(-1),
  faster: () => changeSpeed(1),
  previous: () => step(-1),
  next: () => step(1),
  save: () => (typed(), saver.flush()),
};
const KEYS = { Enter: ACTIONS.accept, Escape: ACTIONS.play, PageUp: ACTIONS.previous, PageDown: ACTIONS.next };
const ALT_KEYS = { // by the place of the key: with Alt, many layouts type another letter
  KeyJ: ACTIONS.again, Comma: ACTIONS.slower, Period: ACTIONS.faster,
  Digit1: () => accept("unusable"), Digit2: () => accept("noise"), Digit3: () => accept("not speech"),
};

function pressed(event) {
  touch();
  if (event.isComposing || event.keyCode === 229) return; // keys of an input method, also the Enter that ends a syllable
  const [ctrl, alt] = [event.ctrlKey || event.metaKey, event.altKey];
  let action = ctrl && !alt && event.code === "KeyS" ? ACTIONS.save : alt && !ctrl ? ALT_KEYS[event.code] : null;
  if (!ctrl && !alt && !event.shiftKey) action = KEYS[event.key];
  if (event.key === "Enter" && event.target.closest("button, summary")) action = null; // it presses the button
  if (!action || !item) return;
  event.preventDefault();
  if (!event.repeat) action();
}

function moveHead() {
  const at = audio.duration ? audio.currentTime / audio.duration : 0;
  head.style.left = `${100 * at}%`;
  wave.setAttribute("aria-valuenow", audio.currentTime.toFixed(1));
  wave.setAttribute("aria-valuemax", (item?.duration_s ?? 0).toFixed(1));
  if (!audio.paused) requestAnimationFrame(moveHead);
}

function listen() {
  document.addEventListener("keydown", pressed);
  document.addEventListener("pointerdown", touch);
  field.addEventListener("input", typed);
  for (const [name, action] of Object.entries(ACTIONS)) element(name).addEventListener("click", action);
  for (const button of document.querySelectorAll("[data-mark]"))
    button.addEventListener("click", () => accept(button.dataset.mark));
  for (const name of ["play", "pause", "seeked", "ended", "emptied"]) audio.addEventListener(name, moveHead);
  wave.addEventListener("click", ({ clientX }) => {
    const box = wave.getBoundingClientRect();
    playFrom(((clientX - box.left) / box.width) * (audio.duration || 0));
  });
  wave.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft" || key === "ArrowRight") audio.currentTime += key === "ArrowLeft" ? -0.5 : 0.5;
  });
  window.addEventListener("beforeunload", (event) => saver.isWaiting && event.preventDefault());
  window.addEventListener("resize", () => item && showSoundAgain());
}

async function showSoundAgain() {
  const shown = item;
  const sound = await sounds.get(shown.id).catch(() => null);
  if (sound && item === shown) draw(wave.querySelector("canvas"), sound, shown.words, shown.duration_s);
}

/** What an earlier page had not brought to the server is newer than what the server has. */
function takeUp(left) {
  for (const { id, state, text, mark, spent_s } of left) {
    const found = work.items.find((each) => each.id === id);
    if (found) Object.assign(found, { state: isDraft({ state }) ? "draft" : "done", text, mark, spent_s });
  }
}

function showAll() {
  translate();
  wave.setAttribute("aria-label", say("wave"));
  if (!work) return;
  told(...savedState);
  showProgress();
  work.items.forEach(showInList);
  if (item) [showPlace, showWords, showVersions, checkForm].forEach((show) => show());
}

async function start() {
  showAll();
  for (const button of document.querySelectorAll("[data-language]"))
    button.addEventListener("click", () => {
      language = button.dataset.language;
      store(CHOSEN, language);
      showAll();
    });
  try {
    work = await (await ask("work")).json();
  } catch (error) {
    notice(error.message);
    return;
  }
  saver = new Saver(work.place, told);
  takeUp(saver.left());
  element("list").replaceChildren(...work.items.map(listItem));
  showAll();
  saver.flush();
  listen();
  if (!work.items.length) return notice(say("nothing"));
  element("desk").hidden = element("all").hidden = false;
  const open = work.items.findIndex((each) => each.state !== "done");
  await show(Math.max(0, open));
  if (open < 0) notice(say("finished"));
}

start();
