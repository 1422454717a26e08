// What went wrong and what to do, above the controls; and the form for the key.

import { Failure, about, checkKey, key } from "./api.js";
import { text, wait } from "./texts.js";

const $ = (id) => document.getElementById(id);

/** Shows a message, with a button that calls `retry` if given; an empty message hides the last one. */
export function notice(message, retry = null) {
  if (!message && $("notice").contains(document.activeElement)) $("speak").focus();
  $("notice-text").textContent = message;
  $("notice").hidden = !message;
  $("notice-retry").hidden = !retry;
  $("notice-retry").onclick = () => {
    notice("");
    retry();
  };
}

/** Says what a Failure means for the reader. `saved`: words of the broken connection are on the page. */
export function explain(failure, { retry, saved = false }) {
  if (!(failure instanceof Failure)) throw failure;
  const { status, code, message, retryAfterS } = failure;
  const later = (name) => (retryAfterS ? text(name, { time: wait(retryAfterS) }) : text(`${name}Soon`));
  if (status === 401 || status === 403) askKey();
  else if (status === 0) notice(text(saved ? "lost" : "gone"), retry);
  else if (status === 429 && /quota/.test(code ?? "")) notice(later("quota"));
  else if (status === 429 || status === 503) notice(later("overloaded"), retry);
  else notice(text("serverSays", { message }));
}

/** Asks the server what it offers and whether it accepts the key; calls `onServer` with its modes and language. */
export async function greet(onServer) {
  try {
    const server = await about();
    onServer(server);
    if (server.needs_key && !key.get()) return askKey();
    if (server.needs_key) await checkKey();
    $("key-form").hidden = true;
    $("forget").hidden = !key.get();
  } catch (failure) {
    explain(failure, { retry: () => greet(onServer) });
  }
}

/** Calls `again` when another key is to be used, or none. */
export function onKey(again) {
  $("forget").onclick = () => {
    key.forget();
    again();
  };
  $("key-form").onsubmit = async (event) => {
    event.preventDefault();
    key.set($("key").value.trim());
    await again();
    if (!$("key-form").hidden) return;
    $("key").value = "";
    $("speak").focus();
  };
}

function askKey() {
  const wrong = key.get() !== null;
  key.forget();
  $("key-hint").dataset.text = wrong ? "keyWrong" : "keyHint";
  $("key-hint").textContent = text($("key-hint").dataset.text);
  $("key-hint").className = wrong ? "error" : "quiet";
  $("key").setAttribute("aria-invalid", wrong);
  $("forget").hidden = true;
  $("key-form").hidden = false;
  $("key").focus();
}

$("notice-close").onclick = () => notice("");
