// What the page says, in English and Korean. {name} stands for a value.

const TEXTS = {
  en: {
    title: "Transcribe", transcript: "What is said", accept: "Accept", play: "Play, pause", again: "Last second",
    slower: "Slower", faster: "Faster", unusable: "Unusable", noise: "Noise only", notSpeech: "Not speech",
    previous: "Previous", next: "Next", save: "Save", plays: "play at once", all: "All recordings",
    progress: "{done} of {all} done · {left} min of sound left{time}", time: " · about {minutes} min to go",
    saved: "all saved", saving: "saving …", unsaved: "not saved yet, trying again: {why}",
    refused: "not saved: {why}", unreachable: "the server does not answer",
    place: "{number} of {all} · {id} · {seconds} s · {state}", open: "open", draft: "begun", done: "done",
    unsure: "unsure", kept: "kept as: {text}", figures: "Numbers are written as they are spoken: {spoken}",
    use: "Use this", unknown: "Characters outside the alphabet: {unknown}",
    empty: "No text. Press Enter again if nothing is said.", finished: "All recordings are done. Thank you.",
    nothing: "There is nothing to transcribe.", wave: "Sound, with doubtful words shaded", broken: "No sound: {why}",
    said: "{by}: {text}", silent: "(nothing is said)",
  },
  ko: {
    title: "받아쓰기", transcript: "말한 내용", accept: "확인", play: "재생, 멈춤", again: "마지막 1초",
    slower: "느리게", faster: "빠르게", unusable: "쓸 수 없음", noise: "잡음뿐", notSpeech: "말이 아님",
    previous: "이전", next: "다음", save: "저장", plays: "바로 재생", all: "모든 녹음",
    progress: "{all}개 중 {done}개 완료 · 남은 소리 {left}분{time}", time: " · 약 {minutes}분 남음",
    saved: "모두 저장됨", saving: "저장 중 …", unsaved: "아직 저장되지 않음, 다시 시도하는 중: {why}",
    refused: "저장되지 않음: {why}", unreachable: "서버가 응답하지 않습니다",
    place: "{all}개 중 {number}번째 · {id} · {seconds}초 · {state}", open: "남음", draft: "시작함", done: "완료",
    unsure: "불확실", kept: "저장할 글: {text}", figures: "숫자는 말한 대로 씁니다: {spoken}",
    use: "이것으로 쓰기", unknown: "알파벳 밖의 글자: {unknown}",
    empty: "글이 없습니다. 아무 말도 없으면 Enter를 한 번 더 누르세요.", finished: "모든 녹음을 마쳤습니다. 감사합니다.",
    nothing: "받아쓸 녹음이 없습니다.", wave: "소리, 불확실한 단어는 음영으로 표시", broken: "소리 없음: {why}",
    said: "{by}: {text}", silent: "(아무 말도 없음)",
  },
};

const CHOSEN = "asr.transcribe.language";
let language = stored(CHOSEN) ?? (navigator.language.startsWith("ko") ? "ko" : "en");

function say(name, values = {}) {
  return TEXTS[language][name].replace(/{(\w+)}/g, (_, key) => String(values[key] ?? ""));
}

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const button of document.querySelectorAll("[data-language]"))
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
}

/** A value of the browser's storage; null where there is none, or where it is switched off. */
function stored(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function store(name, value) {
  try {
    if (value === null) localStorage.removeItem(name); else localStorage.setItem(name, value);
  } catch { /* the server keeps it */ }
}
