// The microphone as blocks of 16-bit mono samples.

import { Failure } from "./api.js";

const RATE_HZ = 16000;

/**
 * Asks for the microphone and calls `onBlock(Int16Array)` every 50 ms, `onLost()` if the device goes away.
 * The result has the rate of the blocks; `stop()` returns after the last block was handed over.
 */
export async function openMicrophone({ onBlock, onLost }) {
  if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("not a secure page", "InsecureError");
  // The browser's level control and noise suppression are made for ears; recognition works better without them.
  const constraints = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio: constraints });
  const release = () => media.getTracks().forEach((track) => track.stop());
  try {
    const [context, source] = connect(media);
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url)).catch(() => {
      throw new Failure(0); // the server did not send the file
    });
    await context.resume();
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    const ended = new Promise((done) => {
      capture.port.onmessage = ({ data }) => (data ? onBlock(data) : done());
    });
    source.connect(capture);
    media.getAudioTracks()[0].onended = onLost;
    const stop = async () => {
      capture.port.postMessage("stop");
      await ended;
      release();
      await context.close();
    };
    return { rateHz: context.sampleRate, stop };
  } catch (error) {
    release();
    throw error;
  }
}

function connect(media) {
  const context = new AudioContext({ sampleRate: RATE_HZ });
  try {
    return [context, context.createMediaStreamSource(media)];
  } catch {
    // Firefox joins a microphone only to a context of the device's own rate; the server resamples.
    context.close();
    const native = new AudioContext();
    return [native, native.createMediaStreamSource(media)];
  }
}

/** The name of the text that explains why the microphone did not open; undefined if no text does. */
export function reason(error) {
  return {
    InsecureError: "insecure",
    NotAllowedError: "refused",
    SecurityError: "refused",
    NotFoundError: "noMicrophone",
    OverconstrainedError: "noMicrophone",
    NotReadableError: "busy",
    AbortError: "busy",
  }[error.name];
}
