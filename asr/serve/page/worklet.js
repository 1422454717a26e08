// Runs on the audio thread: mono sound in blocks of 50 ms, as 16-bit samples. Any message asks for the rest and the end.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 20));
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => {
      this.running = false;
      this.post();
      this.port.postMessage(null);
    };
  }

  process([channels]) {
    if (!this.running) return false;
    for (let k = 0; k < (channels[0]?.length ?? 0); k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.block[this.filled++] = Math.max(-1, Math.min(1, sum / channels.length)) * 32767;
      if (this.filled === this.block.length) this.post();
    }
    return true;
  }

  post() {
    if (this.filled) this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
