"""Recordings of single words, and the dev sets of the recipe commands: words of strangers, in a quiet place.

Digits of fsdd and words cut out of TIMIT's sentences begin and end with the word. Those that a microphone hears do
not, so the dev sets get 0.1 to 0.4 s of noise at both ends, 15 to 40 dB below the speech.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchaudio.functional import phase_vocoder

from asr import manifest
from asr.errors import InputError
from asr.features import audio
from asr.recognizer.recognizer import Recognizer
from asr.text.lexicon import Lexicon
from recipes.commands.prepare import DEV_SPEAKERS, read

RATE_HZ = 16000
ENDS_S, NOISE_DB = (0.1, 0.4), (-40, -15)
CUT_WORDS, SHORTEST, SHORTEST_S = 200, 3, 0.2  # of TIMIT: number of words, letters, duration
STFT = 512  # samples of a window of the phase vocoder
Clip = tuple[str, str, np.ndarray]  # word, speaker, samples (T,)
Tempos = tuple[float, float] | None


@dataclass
class Clips:
    """Recordings with their log-probs (F', V)."""

    words: list[str]
    speakers: list[str]
    log_probs: list[np.ndarray]


def score(recognizer: Recognizer, clips: Sequence[Clip]) -> Clips:
    if (rate_hz := recognizer.cfg.features.sample_rate_hz) != RATE_HZ:
        raise InputError(f"the recogniser hears {rate_hz} Hz, the clips have {RATE_HZ}; name one that hears {RATE_HZ}")
    log_probs = [recognizer.log_probs([samples])[0] for _, _, samples in clips]
    return Clips([word for word, _, _ in clips], [speaker for _, speaker, _ in clips], log_probs)


def recordings(utterances: Sequence[manifest.Utterance]) -> list[Clip]:
    return [(u.text or "", u.speaker or "", audio.load(u.audio or "", sample_rate_hz=RATE_HZ)) for u in utterances]


def digits(root: str | None, count: int, tempos: Tempos = None) -> list[Clip]:
    """Random digits of the speakers of fsdd whom the recipe commands does not train on, with noise around them.

    `tempos`: of each clip, one drawn between them; None leaves it as it is.
    """
    said = [u for u in read("fsdd", root) if u.speaker in DEV_SPEAKERS]
    chosen = [said[i] for i in np.random.default_rng(7).permutation(len(said))][:count]
    return surround(at_tempos(recordings(chosen), tempos), root)


def cut_words(root: str | None, tempos: Tempos = None) -> list[Clip]:
    """The words that TIMIT's sentences have most often, no two of which sound the same, with noise around them."""
    said: dict[str, list[Clip]] = {}
    for u in read("timit_en", root):
        samples = audio.load(u.audio or "", sample_rate_hz=RATE_HZ)
        for start_s, end_s, word in u.extra["words"]:
            if len(word) >= SHORTEST and end_s - start_s >= SHORTEST_S and "'" not in word:
                cut = samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
                said.setdefault(word.lower(), []).append((word.lower(), u.speaker or "", cut))
    sounds = Lexicon.cmudict(sorted(said)).pronunciations
    chosen: list[str] = []
    taken: set[tuple[str, ...]] = set()
    for word in sorted(said, key=lambda word: (-len(said[word]), word)):
        own = {tuple(sound) for sound in sounds.get(word, [])}
        if own and not own & taken and len(chosen) < CUT_WORDS:
            chosen.append(word)
            taken |= own
    return surround(at_tempos([clip for word in chosen for clip in said[word]], tempos), root)


def at_tempos(clips: Sequence[Clip], tempos: Tempos) -> list[Clip]:
    """The clips at tempos drawn between two, with their pitch."""
    if tempos is None:
        return list(clips)
    drawn = [np.random.default_rng(number + 10**6).uniform(*tempos) for number in range(len(clips))]
    return [
        (word, speaker, stretched(samples, tempo)) for (word, speaker, samples), tempo in zip(clips, drawn, strict=True)
    ]


def stretched(samples: np.ndarray, tempo: float) -> np.ndarray:
    """Samples (T,) `tempo` times as fast, by a phase vocoder."""
    window, hop = torch.hann_window(STFT), STFT // 4
    spectrum = torch.stft(torch.from_numpy(samples.astype(np.float32)), STFT, hop, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, STFT // 2 + 1)[:, None]  # of the phase of each bin in one hop
    slower = phase_vocoder(spectrum, tempo, advance)
    return torch.istft(slower, STFT, hop, window=window, length=round(len(samples) / tempo)).numpy()


def surround(clips: Sequence[Clip], root: str | None) -> list[Clip]:
    """The clips in noise that begins before and ends after the word: half of it of the corpus noise, half coloured."""
    noises = [samples for _, _, samples in recordings([u for u in read("noise", root) if u.extra["split"] == "train"])]
    made = []
    for number, (word, speaker, samples) in enumerate(clips):
        rng = np.random.default_rng(number)
        before, after = (int(RATE_HZ * s) for s in rng.uniform(*ENDS_S, 2))
        size = before + len(samples) + after
        if rng.random() < 0.5:
            noise = noises[rng.integers(len(noises))]
            noise = np.resize(np.roll(noise, -rng.integers(len(noise))), size)
        else:
            spectrum = np.fft.rfft(rng.standard_normal(size))
            noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** rng.uniform(0, 0.5), size)
        level = np.sqrt(np.mean(samples**2)) * 10 ** (rng.uniform(*NOISE_DB) / 20)
        heard = np.pad(samples, (before, after)) + level * noise / (noise.std() + 1e-9)
        made.append((word, speaker, heard.astype(np.float32)))
    return made
