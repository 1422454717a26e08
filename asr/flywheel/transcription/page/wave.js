// The sound of a recording: fetched, drawn, and played.

const LOW = 0.6; // words below this confidence are marked

/** {url, samples, rate_hz} of a WAV file of 16 bits and one channel. */
async function soundOf(id) {
  const data = await (await ask(`sound?id=${encodeURIComponent(id)}`)).arrayBuffer();
  const view = new DataView(data);
  let at = 12;
  while (view.getUint32(at) !== 0x64617461) at += 8 + view.getUint32(at + 4, true); // "data"
  const samples = new Int16Array(data, at + 8, view.getUint32(at + 4, true) >> 1);
  const url = URL.createObjectURL(new Blob([data], { type: "audio/wav" }));
  return { url, samples, rate_hz: view.getUint32(24, true) };
}

/** The last sounds, so that the next recording is there when it is asked for. */
class Sounds {
  #kept = new Map();

  get(id) {
    if (this.#kept.has(id)) {
      const found = this.#kept.get(id);
      this.#kept.delete(id); // to the end: the one that is heard is not the oldest
      this.#kept.set(id, found);
    } else {
      const found = soundOf(id);
      found.catch(() => this.#kept.delete(id)); // asked for again next time
      this.#kept.set(id, found);
      if (this.#kept.size > 6) {
        const [oldest, sound] = this.#kept.entries().next().value;
        this.#kept.delete(oldest);
        sound.then(({ url }) => URL.revokeObjectURL(url), () => {});
      }
    }
    return this.#kept.get(id);
  }
}

/** The waveform (the lowest and highest sample of each column) over the shades of doubtful words. */
function draw(canvas, sound, words, duration_s) {
  const scale = devicePixelRatio;
  const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const colour = (name) => resolved(canvas, name);
  for (const { start_s, end_s, confidence } of words) {
    context.globalAlpha = Math.min(1, Math.max(0, 1 - confidence));
    context.fillStyle = colour("--doubt");
    context.fillRect((start_s / duration_s) * width, 0, ((end_s - start_s) / duration_s) * width, height);
  }
  context.globalAlpha = 1;
  context.fillStyle = colour("--accent");
  const { samples } = sound;
  const loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  for (let x = 0; x < width; x += 1) {
    let [low, high] = [0, 0];
    const end = Math.floor(((x + 1) * samples.length) / width);
    for (let n = Math.floor((x * samples.length) / width); n < end; n += 1) {
      low = Math.min(low, samples[n]);
      high = Math.max(high, samples[n]);
    }
    const [top, bottom] = [high, low].map((y) => (height / 2) * (1 - (0.95 * y) / loudest));
    context.fillRect(x, top, 1, Math.max(scale, bottom - top));
  }
}

/** A colour of the style sheet in the scheme that is shown. */
function resolved(element, name) {
  element.style.color = `var(${name})`;
  const found = getComputedStyle(element).color;
  element.style.color = "";
  return found;
}
