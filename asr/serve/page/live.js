// One stream of speech to the server, which survives a broken connection.

import { Failure, checkKey, streamAddress } from "./api.js";

const KEPT_S = 30; // how long the server keeps a session whose connection broke
const PAUSES_S = [0.3, 1, 2, 4];
const STARTED_S = 10; // the longest wait for the server's first message
const CLOSED_S = 30; // the longest silence of the server after the last sound
const STUCK_S = 10; // a socket that stays full for so long is dead
const MOST_WAITING = 2 ** 18; // bytes in the socket; the rest waits in the recording
const REFUSED = 4000; // plus the HTTP status: the code of a connection that the server refuses

export class LiveStream {
  #socket = null;
  #session = null;
  #sent = 0; // bytes
  #utterance = 0; // the next one to be final
  #refusal;
  #closing = false;
  #brokenAt = null;
  #fullSince = null;
  #timer;
  #finish;

  /**
   * Streams `recording` from its present end on. `start` is the server's start message. `on` has the functions
   * `partial` and `final` (the server's messages), `broken`, and `mended`.
   * `finished` resolves after the last word, and rejects with a Failure.
   */
  constructor(recording, start, on) {
    this.recording = recording;
    this.origin = recording.length;
    this.ready = false; // whether the server takes sound now
    this.start = { type: "start", encoding: "pcm_s16le", sample_rate_hz: recording.rateHz, partials: true, ...start };
    this.on = on;
    this.finished = new Promise((resolve, reject) => (this.#finish = { resolve, reject }));
    this.#connect(0);
  }

  /** Sends what was recorded since the last call. */
  send() {
    const socket = this.#socket;
    if (!this.ready || socket.readyState !== WebSocket.OPEN) return;
    while (this.#pending > 0 && socket.bufferedAmount < MOST_WAITING) {
      const samples = this.recording.samples(this.origin, this.recording.length);
      const bytes = new Uint8Array(samples.buffer, samples.byteOffset + this.#sent, Math.min(this.#pending, 2 ** 16));
      socket.send(bytes);
      this.#sent += bytes.length;
    }
    if (socket.bufferedAmount < MOST_WAITING) this.#fullSince = null;
    else if (performance.now() - (this.#fullSince ??= performance.now()) > STUCK_S * 1000) return this.#broken(socket, 0);
    if (!this.#closing || this.closeSent) return;
    if (this.#pending > 0) return setTimeout(() => this.send(), 50);
    this.closeSent = true;
    socket.send(JSON.stringify({ type: "close" }));
    this.#expect(socket, CLOSED_S);
  }

  /** No more sound comes: the server answers with the last words. */
  close() {
    this.#closing = true;
    this.send();
    return this.finished;
  }

  get #pending() {
    return (this.recording.length - this.origin) * 2 - this.#sent;
  }

  #connect(attempt) {
    const socket = (this.#socket = new WebSocket(streamAddress()));
    this.closeSent = false;
    socket.onopen = () =>
      socket.send(JSON.stringify(this.#session ? this.#resume() : this.start));
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#timer);
      if (this.closeSent) this.#expect(socket, CLOSED_S);
      this.#receive(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (code > REFUSED && socket === this.#socket) this.#end(new Failure(code - REFUSED, this.#refusal));
      else this.#broken(socket, this.ready ? 0 : attempt);
    };
    this.#expect(socket, STARTED_S);
  }

  #expect(socket, seconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#broken(socket, 0), seconds * 1000);
  }

  #receive(message) {
    if (message.type === "started") {
      if (this.#brokenAt) this.on.mended();
      this.#session = message.session;
      this.#sent = message.received_bytes ?? 0;
      this.#brokenAt = null;
      this.ready = true;
      this.send();
    } else if (message.type === "error") {
      this.#refusal = message.error; // the connection is closed next
    } else if (message.type === "closed") {
      this.#end();
    } else {
      if (message.type === "final") this.#utterance = message.utterance + 1;
      this.on[message.type]?.(message);
    }
  }

  #resume() {
    return { type: "resume", session: this.#session, utterance: this.#utterance };
  }

  async #broken(socket, attempt) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#timer);
    this.#socket = null;
    this.ready = false;
    socket.close();
    if (!this.#session) {
      // A refused WebSocket gives no reason to the page; an ordinary request does.
      return this.#end(await checkKey().then(() => new Failure(0), (failure) => failure));
    }
    this.#brokenAt ??= performance.now();
    if (performance.now() - this.#brokenAt > KEPT_S * 1000) return this.#end(new Failure(0));
    this.on.broken();
    setTimeout(() => this.#connect(attempt + 1), PAUSES_S[Math.min(attempt, PAUSES_S.length - 1)] * 1000);
  }

  #end(failure) {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    this.#socket = null;
    this.ready = false;
    socket?.close();
    if (failure) this.#finish.reject(failure);
    else this.#finish.resolve();
  }
}
