// The sound of a transcript: 16-bit mono samples that grow while the microphone is open, and parts of it played.

export const LONGEST_S = 3600;
const LARGEST_FILE = 64 * 2 ** 20; // decoded in the page; larger ones are recognised but cannot be heard here
const MARGIN_S = 0.06; // played on each side of a word

export class Recording {
  constructor(rateHz) {
    this.rateHz = rateHz;
    this.length = 0;
    this.buffer = new Int16Array(rateHz * 30);
  }

  get durationS() {
    return this.length / this.rateHz;
  }

  append(samples) {
    if (this.length + samples.length > this.buffer.length) {
      const larger = new Int16Array(Math.max(this.buffer.length * 2, this.length + samples.length));
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    this.buffer.set(samples, this.length);
    this.length += samples.length;
  }

  samples(first, last) {
    return this.buffer.subarray(Math.max(0, first), Math.min(this.length, last));
  }
}

/** The sound of a file, mixed to mono at 16 kHz; null if the browser cannot decode it or it is too large to keep. */
export async function decode(file) {
  if (file.size > LARGEST_FILE) return null;
  try {
    const context = new OfflineAudioContext(1, 1, 16000);
    const decoded = await context.decodeAudioData(await file.arrayBuffer());
    if (decoded.duration > LONGEST_S) return null;
    const channels = Array.from({ length: decoded.numberOfChannels }, (_, k) => decoded.getChannelData(k));
    const mono = new Int16Array(decoded.length);
    for (let k = 0; k < mono.length; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      mono[k] = Math.max(-1, Math.min(1, sum / channels.length)) * 32767;
    }
    const recording = new Recording(decoded.sampleRate);
    recording.append(mono);
    return recording;
  } catch {
    return null;
  }
}

export class Player {
  #context = null;
  #source = null;

  /** Plays `recording` from `startS` to `endS`, instead of what is playing; `onEnd` is called at the end or when stopped. */
  play(recording, startS, endS, onEnd) {
    this.stop();
    const first = Math.floor((startS - MARGIN_S) * recording.rateHz);
    const samples = recording.samples(first, Math.ceil((endS + MARGIN_S) * recording.rateHz));
    if (!samples.length) return onEnd();
    this.#context ??= new AudioContext();
    this.#context.resume();
    const buffer = this.#context.createBuffer(1, samples.length, recording.rateHz);
    const channel = buffer.getChannelData(0);
    for (let k = 0; k < samples.length; k++) channel[k] = samples[k] / 32768;
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.onended = onEnd;
    source.connect(this.#context.destination);
    source.start();
    this.#source = source;
  }

  stop() {
    this.#source?.stop();
    this.#source = null;
  }
}
