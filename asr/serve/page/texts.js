// The texts of the page in its languages. `{name}` is a place for a value.

export const TEXTS = {
  en: {
    title: "Speech to text",
    skip: "Skip to the microphone",
    mode: "Mode",
    modes: { dictation: "Dictation", web: "Web search", local: "Local", word: "Words" },
    hints: {
      dictation: "Free speech in whole sentences.",
      web: "Short queries, as typed into a search box.",
      local: "Free speech about the domain of this server.",
      word: "One of the words that you list below.",
    },
    transcript: "Transcript",
    placeholder: "Press Speak, or drop a recording here.",
    wordsLabel: "Recognised words. Arrow keys move, Enter plays the word.",
    scroller: "Sound over time. Arrow keys scroll.",
    spectrogram: "Spectrogram with the words below",
    sure: "sure",
    unsure: "unsure",
    unsureWord: "{word}, unsure, {percent} percent",
    details: "{word} · {start} to {end} s · confidence {percent} %",
    corrected: "corrected",
    speak: "Speak",
    asking: "Waiting for permission",
    stop: "Stop",
    finishing: "Finishing",
    open: "Open a file",
    correct: "Correct",
    utterance: "Utterance {number}, from {start} s",
    send: "Send corrections",
    cancel: "Cancel",
    keep: "Keep corrections",
    kept: "Corrected on this page only, {count} in all: the server keeps no such answers.",
    sent: "Corrections sent: {count}",
    unchanged: "Nothing was changed.",
    downloads: "Download",
    download: "Download as {format}",
    clear: "Clear",
    restore: "Bring the last transcript back",
    listening: "Listening",
    quiet: "No sound arrives. Is the microphone muted?",
    reconnecting: "The connection broke. Trying again; your speech is kept.",
    sending: "Recognising {name}",
    done: "Done",
    nothing: "No words were recognised.",
    rejected: "Not accepted: the words were too unsure.",
    undrawn: "Done. The browser cannot play this file, so words are without sound.",
    wordList: "Words to choose from",
    wordListHint: "One word per line. A weight may follow: yes = 2",
    wordListEmpty: "Enter at least one word.",
    phrases: "Phrases to prefer",
    phrasesHint: "Names and terms, one per line. A boost may follow: Han River = 4",
    ignored: "Not used, because the recogniser does not know their words: {phrases}",
    badLine: "Line {line}: write a text, or a text = a number.",
    twice: "Line {line}: {text} is there twice.",
    keyLabel: "This server asks for an API key",
    keyUse: "Use key",
    keyHint: "It is kept in this tab until the tab is closed.",
    keyWrong: "The server does not accept this key. Check it and try again.",
    forget: "Forget the API key",
    retry: "Try again",
    dismiss: "Dismiss",
    privacy: "Sound goes to this server only.",
    drop: "Drop the recording to recognise it",
    oneFile: "Drop one file at a time.",
    noMicrophone: "No microphone was found. Connect one and try again, or open a file.",
    refused: "The browser may not use the microphone. Allow it in the site settings beside the address, then try again.",
    busy: "The microphone cannot be read. Another program may be using it.",
    insecure: "Browsers give the microphone to secure pages only. Open this page by https or on localhost.",
    unplugged: "The microphone was disconnected. What was said until then is kept.",
    failed: "The microphone could not be started: {message}",
    gone: "The server does not answer. Check that it is running and that you are online.",
    lost: "The connection was lost. Words already on the page are kept.",
    quota: "No calls are left for this key. Try again in {time}.",
    quotaSoon: "No calls are left for this key. Try again later.",
    overloaded: "The server is busy. Try again in {time}.",
    overloadedSoon: "The server is busy. Try again in a moment.",
    tooLong: "An hour was recorded, the most that this page keeps. Download the transcript, then speak on.",
    serverSays: "The server refused: {message}",
    minutes: "{count} min",
    seconds: "{count} s",
    hours: "{count} h {minutes} min",
  },
  ko: {
    title: "음성 인식",
    skip: "마이크로 건너뛰기",
    mode: "인식 방식",
    modes: { dictation: "받아쓰기", web: "웹 검색", local: "지역", word: "단어" },
    hints: {
      dictation: "문장을 자유롭게 말합니다.",
      web: "검색창에 입력하듯 짧게 말합니다.",
      local: "이 서버의 분야에 맞추어 자유롭게 말합니다.",
      word: "아래에 적은 단어 가운데 하나를 말합니다.",
    },
    transcript: "인식 결과",
    placeholder: "말하기를 누르거나 녹음 파일을 여기에 끌어다 놓으십시오.",
    wordsLabel: "인식한 단어. 화살표로 이동하고 Enter로 듣습니다.",
    scroller: "시간에 따른 소리. 화살표로 이동합니다.",
    spectrogram: "스펙트로그램과 그 아래의 단어",
    sure: "확실",
    unsure: "불확실",
    unsureWord: "{word}, 불확실, {percent}퍼센트",
    details: "{word} · {start}~{end}초 · 신뢰도 {percent}%",
    corrected: "수정됨",
    speak: "말하기",
    asking: "권한을 기다리는 중",
    stop: "멈추기",
    finishing: "마무리하는 중",
    open: "파일 열기",
    correct: "고치기",
    utterance: "발화 {number}, {start}초부터",
    send: "수정 보내기",
    cancel: "취소",
    keep: "수정 반영",
    kept: "이 페이지에만 {count}건 반영했습니다. 서버에는 해당 결과가 보관되어 있지 않습니다.",
    sent: "보낸 수정: {count}건",
    unchanged: "바뀐 내용이 없습니다.",
    downloads: "내려받기",
    download: "{format} 형식으로 내려받기",
    clear: "지우기",
    restore: "이전 결과 되살리기",
    listening: "듣는 중",
    quiet: "소리가 들어오지 않습니다. 마이크가 꺼져 있습니까?",
    reconnecting: "연결이 끊겨 다시 연결하고 있습니다. 말한 내용은 보관됩니다.",
    sending: "{name} 인식 중",
    done: "완료",
    nothing: "인식한 단어가 없습니다.",
    rejected: "단어가 너무 불확실하여 받아들이지 않았습니다.",
    undrawn: "완료. 브라우저가 이 파일을 재생할 수 없어 단어를 들을 수 없습니다.",
    wordList: "인식할 단어",
    wordListHint: "한 줄에 한 단어. 가중치를 붙일 수 있습니다: 네 = 2",
    wordListEmpty: "단어를 하나 이상 적으십시오.",
    phrases: "우선할 표현",
    phrasesHint: "이름이나 용어를 한 줄에 하나씩. 가중치를 붙일 수 있습니다: 한강 = 4",
    ignored: "인식기가 모르는 단어가 있어 쓰지 않은 표현: {phrases}",
    badLine: "{line}번째 줄: 글, 또는 글 = 숫자로 적으십시오.",
    twice: "{line}번째 줄: {text}(이)가 두 번 있습니다.",
    keyLabel: "이 서버에는 API 키가 필요합니다",
    keyUse: "키 사용",
    keyHint: "탭을 닫을 때까지 이 탭에만 보관됩니다.",
    keyWrong: "서버가 이 키를 받아들이지 않습니다. 확인하고 다시 시도하십시오.",
    forget: "API 키 지우기",
    retry: "다시 시도",
    dismiss: "닫기",
    privacy: "소리는 이 서버로만 전송됩니다.",
    drop: "놓으면 녹음을 인식합니다",
    oneFile: "파일을 한 번에 하나씩 놓으십시오.",
    noMicrophone: "마이크가 없습니다. 연결한 뒤 다시 시도하거나 파일을 여십시오.",
    refused: "마이크 사용이 거부되었습니다. 주소 옆 사이트 설정에서 허용한 뒤 다시 시도하십시오.",
    busy: "마이크를 읽을 수 없습니다. 다른 프로그램이 쓰고 있을 수 있습니다.",
    insecure: "브라우저는 안전한 페이지에서만 마이크를 허용합니다. https나 localhost로 여십시오.",
    unplugged: "마이크 연결이 끊겼습니다. 그때까지 말한 내용은 보관됩니다.",
    failed: "마이크를 시작하지 못했습니다: {message}",
    gone: "서버가 응답하지 않습니다. 서버와 인터넷 연결을 확인하십시오.",
    lost: "연결이 끊겼습니다. 이미 인식한 단어는 남아 있습니다.",
    quota: "이 키의 사용량을 다 썼습니다. {time} 뒤에 다시 시도하십시오.",
    quotaSoon: "이 키의 사용량을 다 썼습니다. 나중에 다시 시도하십시오.",
    overloaded: "서버가 바쁩니다. {time} 뒤에 다시 시도하십시오.",
    overloadedSoon: "서버가 바쁩니다. 잠시 뒤에 다시 시도하십시오.",
    tooLong: "이 페이지가 보관하는 최대 길이인 한 시간을 녹음했습니다. 결과를 내려받은 뒤 계속하십시오.",
    serverSays: "서버가 거절했습니다: {message}",
    minutes: "{count}분",
    seconds: "{count}초",
    hours: "{count}시간 {minutes}분",
  },
};

const STORED = "asr.language";

let language = localStorage.getItem(STORED) ?? preferred(navigator.languages);

/** The first of the reader's languages that the page speaks. */
export function preferred(languages) {
  const known = languages.map((tag) => tag.split("-")[0]).find((tag) => tag in TEXTS);
  return known ?? "en";
}

/** The text under `name` in the chosen language, with values in its places. */
export function text(name, values = {}) {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

export const modeName = (mode) => TEXTS[language].modes[mode] ?? mode;
export const modeHint = (mode) => TEXTS[language].hints[mode] ?? "";

/** "40 s", "12 min", "2 h 10 min": how long to wait. */
export function wait(seconds) {
  if (seconds < 60) return text("seconds", { count: Math.ceil(seconds) });
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return text("minutes", { count: minutes });
  return text("hours", { count: Math.floor(minutes / 60), minutes: minutes % 60 });
}

/** Fills every element with a `data-text`; remembers the language if it was chosen by hand. */
export function show(chosen) {
  if (chosen) localStorage.setItem(STORED, (language = chosen));
  document.documentElement.lang = language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === language);
  }
  const labels = { words: "wordsLabel", scroller: "scroller", spectrogram: "spectrogram" };
  for (const [id, name] of Object.entries(labels)) document.getElementById(id).setAttribute("aria-label", text(name));
  for (const button of document.querySelectorAll("[data-format]")) {
    button.setAttribute("aria-label", text("download", { format: button.dataset.format }));
  }
  document.querySelector(".downloads").setAttribute("aria-label", text("downloads"));
}
