// Calls to the server, and saves that outlast a server that is away and a browser that is killed.

const RETRY_MS = 2000;
const DRAFT_MS = 500; // between the last key and the save of a draft
const TOKEN = "asr.transcribe.token";

function takeToken() {
  const given = location.hash.slice(1);
  if (given) {
    try { sessionStorage.setItem(TOKEN, given); } catch { return given; }
    history.replaceState(null, "", location.pathname);
  }
  try { return sessionStorage.getItem(TOKEN) ?? ""; } catch { return ""; }
}

const token = takeToken();

/** `status` of the answer; 0 if there was none. */
class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  let answer;
  try {
    answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Failure(0, say("unreachable"));
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  throw new Failure(answer.status, error ?? answer.statusText);
}

/** Whether a save is of a text that is being typed. */
function isDraft({ state }) { return state === "draft" || state === "settling"; }

/** Saves wait in the browser's storage until the server has acknowledged them, and are sent one by one. */
class Saver {
  #waiting = new Map(); // name -> save, the oldest first
  #busy = false;
  #timer = 0;

  /** `told(state, why)`: saved, saving, unsaved or refused. */
  constructor(place, told) {
    this.start = `asr.transcribe.save.${place}.`;
    this.told = told;
  }

  /** Saves of an earlier page that the server never acknowledged. */
  left() {
    let names = [];
    try { names = Object.keys(localStorage).filter((name) => name.startsWith(this.start)); } catch { /* switched off */ }
    const saves = names.map((name) => JSON.parse(stored(name))).sort((a, b) => a.at - b.at);
    for (const save of saves) this.#waiting.set(this.#name(save), save);
    return saves;
  }

  get isWaiting() { return this.#waiting.size > 0; }

  put(save, afterMs = 0) {
    save.at = Date.now();
    if (!isDraft(save)) this.#drop(this.#name({ ...save, state: "draft" }));
    this.#waiting.delete(this.#name(save)); // to the end of the line
    this.#waiting.set(this.#name(save), save);
    store(this.#name(save), JSON.stringify(save));
    this.told("saving");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), afterMs);
  }

  async flush() {
    clearTimeout(this.#timer);
    if (this.#busy) return;
    this.#busy = true;
    let refused = null;
    while (this.#waiting.size) {
      const [name, save] = this.#waiting.entries().next().value;
      const { id, state, text, mark, spent_s } = save;
      try {
        await ask("save", { id, state, text, mark, spent_s });
        if (this.#waiting.get(name) === save) this.#drop(name);
      } catch (error) {
        if (error.status >= 400 && error.status < 500 && error.status !== 401) {
          refused = error.message; // it stays in the storage, and is tried again by the next page
          this.#waiting.delete(name);
          continue;
        }
        this.told("unsaved", error.message);
        this.#timer = setTimeout(() => this.flush(), RETRY_MS);
        this.#busy = false;
        return;
      }
    }
    this.#busy = false;
    this.told(refused ? "refused" : "saved", refused);
  }

  #name(save) { return `${this.start}${isDraft(save) ? "draft" : "done"}.${save.id}`; }

  #drop(name) {
    this.#waiting.delete(name);
    store(name, null);
  }
}
