"""Single digits spoken by espeak-ng, whose library comes with the `espeakng-loader` wheel. Synthetic speech."""

import ctypes
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr.errors import InputError

ACCENTS = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029"]
VOICES = [
    f"{accent}+{sex}{n}" for accent in ACCENTS for sex, count in (("m", 7), ("f", 4)) for n in range(1, count + 1)
]
TAKES = [(pitch, rate) for pitch in (30, 45, 60, 75) for rate in (140, 180, 230)]  # pitch 0-99; words per minute
# Constants of espeak-ng's speak_lib.h
AUDIO_OUTPUT_SYNCHRONOUS, CHARS_UTF8, RATE, PITCH = 2, 1, 1, 3
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The C library: `say(text, voice, pitch, rate)` -> (T,) int16 at `rate_hz`."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as e:
            raise InputError("no espeak-ng to synthesise digits with: pip install espeakng-loader") from e
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self.rate_hz = self.library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, folder, 0)
        self.blocks: list[np.ndarray] = []
        self.callback = CALLBACK(self.receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, pitch: int, rate: int) -> np.ndarray:
        self.blocks.clear()
        self.library.espeak_SetVoiceByName(voice.encode())
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        self.library.espeak_SetParameter(RATE, rate, 0)
        data = text.encode()
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, CHARS_UTF8, None, None)
        return np.concatenate(self.blocks)


def synthesise_digits(folder: Path, words: Sequence[str]) -> Path:
    """Write `folder/7_en-us_3.flac` ... for every digit, voice and take, trimmed; returns `folder`."""
    espeak = Espeak()
    made = folder.with_name(folder.name + ".part")
    made.mkdir(parents=True, exist_ok=True)
    for voice in tqdm(VOICES, desc="espeak-ng", unit="voice"):
        for digit, word in enumerate(words):
            for take, (pitch, rate) in enumerate(TAKES):
                samples = trim(espeak.say(word, voice, pitch, rate))
                soundfile.write(made / f"{digit}_{re.sub('[^a-z0-9]', '', voice)}_{take}.flac", samples, espeak.rate_hz)
    made.rename(folder)
    return folder


def trim(samples: np.ndarray) -> np.ndarray:
    """Remove the silence at both ends of samples (T,)."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]
