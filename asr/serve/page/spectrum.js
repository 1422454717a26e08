// The spectrum of a recording: one column per pixel, computed when it is first drawn.

export const PIXELS_PER_S = 150;
export const BANDS = 72;

const SIZE = 512;
const LOWEST_HZ = 60;
const DEEPEST_DB = -110;

const mel = (hz) => 1127 * Math.log(1 + hz / 700);
const hertz = (mels) => 700 * (Math.exp(mels / 1127) - 1);

export class Spectrum {
  constructor(recording) {
    this.recording = recording;
    this.columns = []; // Uint8Array per column: level of each band, 0 for DEEPEST_DB, 255 for 0 dB
    this.loudest = 0;
    this.window = Float32Array.from({ length: SIZE }, (_, k) => (0.5 - 0.5 * Math.cos((2 * Math.PI * k) / SIZE)) / 32768);
    this.bands = bands(recording.rateHz);
    this.re = new Float32Array(SIZE);
    this.im = new Float32Array(SIZE);
  }

  /** Columns whose window is filled by now. */
  get length() {
    return Math.floor((this.recording.durationS - SIZE / 2 / this.recording.rateHz) * PIXELS_PER_S);
  }

  column(index) {
    return (this.columns[index] ??= this.#compute(index));
  }

  #compute(index) {
    const { recording, re, im } = this;
    const first = Math.round((index / PIXELS_PER_S) * recording.rateHz) - SIZE / 2;
    const samples = recording.samples(first, first + SIZE);
    re.fill(0);
    im.fill(0);
    const offset = Math.max(0, -first);
    for (let k = 0; k < samples.length; k++) re[offset + k] = samples[k] * this.window[offset + k];
    transform(re, im);
    return Uint8Array.from(this.bands, ([from, to]) => {
      let power = 0;
      for (let k = from; k < to; k++) power += re[k] * re[k] + im[k] * im[k];
      const db = 10 * Math.log10(power / (to - from) / (SIZE * SIZE * 0.0625) + 1e-12);
      const level = Math.max(0, Math.min(255, Math.round((1 - db / DEEPEST_DB) * 255)));
      this.loudest = Math.max(this.loudest, level);
      return level;
    });
  }
}

/** First and last FFT bin of each band, from low to high; bands are equally wide on the mel scale. */
function bands(rateHz) {
  const [low, high] = [mel(LOWEST_HZ), mel(rateHz / 2)];
  const bin = (k) => Math.round((hertz(low + ((high - low) * k) / BANDS) * SIZE) / rateHz);
  return Array.from({ length: BANDS }, (_, k) => [bin(k), Math.max(bin(k) + 1, bin(k + 1))]);
}

/** The fast Fourier transform in place; the length is a power of two. */
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const [wr, wi] = [Math.cos((Math.PI * k) / half), -Math.sin((Math.PI * k) / half)];
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half;
        const [xr, xi] = [re[j] * wr - im[j] * wi, re[j] * wi + im[j] * wr];
        [re[j], im[j], re[i], im[i]] = [re[i] - xr, im[i] - xi, re[i] + xr, im[i] + xi];
      }
    }
  }
}
