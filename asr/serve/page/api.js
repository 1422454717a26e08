// Requests to the server, with the key of this tab, and what their failures mean.

const STORED = "asr.key";

export const key = {
  get: () => sessionStorage.getItem(STORED),
  set: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
};

/** What went wrong: `status` of the answer, 0 if there was none; the server's error; when to try again. */
export class Failure extends Error {
  constructor(status, { message = "", code = null } = {}, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const body = await response.json().catch(() => ({}));
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After"));
  throw new Failure(response.status, body.error ?? { message: response.statusText }, retryAfter || null);
}

/** {modes, language, needs_key, takes_corrections}: what the server tells without a key. */
export const about = () => request("page.json");

/** A Failure with status 401 if the server does not accept the key, and 0 if it does not answer. */
export const checkKey = () => request("v1/models");

export function recognize(file, options, signal) {
  const body = new FormData();
  body.append("file", file);
  body.append("request", JSON.stringify(options));
  return request("v1/recognize", { method: "POST", body, signal });
}

export function sendCorrection(id, text) {
  const body = JSON.stringify({ id, text });
  return request("v1/feedback", { method: "POST", body, headers: { "Content-Type": "application/json" } });
}

/** The address of the stream; WebSockets of browsers carry no headers, so the key is in the address. */
export function streamAddress() {
  const address = new URL("v1/stream", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (key.get()) address.searchParams.set("key", key.get());
  return address;
}
