"""What fillers in a graph change: error rates on real speech as it is, and with SYNTHETIC fillers between its words.

    python -m benchmarks.fillers BUNDLE MANIFEST en|ko RATE GRAPH ...

GRAPH: folders that `asr graph ... fillers=um,uh` (or 어,음) wrote for the net of the bundle; each replaces the bundle's
own graph in turn. The first LIMIT utterances with two words and more get a filler for every EVERY words, one at least,
at places drawn from those between the words that the bundle finds (at the quietest moment there), between pauses of
noise as soft as the recording's own. English: Piper's voice of Joe says um and uh at drawn heights and speeds; Korean:
espeak-ng says 어 and 음 in drawn voices. All is drawn from one seed. Fillers are left out of all texts. RATE: wer, cer
or cer_without_spaces; intervals are 95 % of a paired bootstrap over utterances. Writes
benchmarks/results/fillers-NAME.json, NAME being the name of the bundle's folder.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

import asr
from asr import manifest
from asr.data.dataset import load_input
from asr.evaluation.comparison import paired_bootstrap
from asr.evaluation.score import Counts, error_counts
from asr.features.pauses import STEP_S, levels
from asr.hypothesis import Word
from asr.recognizer.recognizer import Recognizer
from asr.search.space import SearchSpace
from benchmarks.conditions import write
from benchmarks.silence import silence, speech_db
from recipes.commands.voices import by_piper
from recipes.digits.synthesise import Espeak, trim

FILLERS = {"en": ("um", "uh"), "ko": ("어", "음")}
SEED, LIMIT, EVERY = 1, 100, 8
PAUSE_S = (0.05, 0.3)
SOFTER_DB = 6.0  # fillers are softer than the speech by up to so much
FADE_S = 0.005
Say = Callable[[str, np.random.Generator], tuple[np.ndarray, int]]  # samples (T,) and their rate


class Heard(NamedTuple):
    """An utterance."""

    text: str
    log_probs: np.ndarray  # (F, V)
    seconds: float


def voice(lang: str) -> Say:
    if lang == "en":
        joe = by_piper()
        return lambda text, rng: joe(text, 0, rng)
    espeak = Espeak()

    def say(text: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        name = f"ko+{rng.choice(['m1', 'm3', 'm5', 'm7', 'f1', 'f3'])}"
        return espeak.say(text, name, int(rng.integers(20, 70)), int(rng.integers(90, 160))) / 32768, espeak.rate_hz

    return say


def places(x: np.ndarray, words: Sequence[Word], rate_hz: int) -> list[int]:
    """The quietest sample between the middles of each two words of a recording (T,)."""
    level = levels(x, rate_hz)
    middles = [round((word.start_s + word.end_s) / 2 / STEP_S) for word in words]
    spans = [(a, max(a + 1, b)) for a, b in zip(middles, middles[1:], strict=False) if a < len(level)]
    return [round((a + float(level[a:b].argmin())) * STEP_S * rate_hz) for a, b in spans]


def filled(x: np.ndarray, at: Sequence[int], sounds: Sequence[np.ndarray], rate_hz: int, rng: np.random.Generator) -> (
    np.ndarray
):  # fmt: skip
    """The recording (T,) with a sound (T',) at each of the samples `at`."""
    speech, noise = speech_db(x, rate_hz), float(np.percentile(levels(x, rate_hz), 5))
    ramp = np.linspace(0, 1, round(FADE_S * rate_hz), dtype=np.float32)
    parts, last = [], 0
    for place, sound in zip(at, sounds, strict=True):
        gain = 10 ** ((speech - rng.uniform(0, SOFTER_DB) - speech_db(sound, rate_hz)) / 20)
        before, behind = (silence(rng.uniform(*PAUSE_S), rate_hz, noise, rng) for _ in range(2))
        parts += [_faded(x[last:place], ramp), before, _faded(gain * sound, ramp), behind]
        last = place
    return np.concatenate([*parts, x[last:]]).astype(np.float32)


def _faded(x: np.ndarray, ramp: np.ndarray) -> np.ndarray:
    ramp, x = ramp[: len(x) // 2], x.copy()
    x[: len(ramp)] *= ramp
    x[len(x) - len(ramp) :] *= ramp[::-1]
    return x


def hear(recognizer: Recognizer, path: Path, lang: str) -> tuple[dict[str, list[Heard]], int]:
    """The speech as it is and with fillers, and the number of these."""
    rng, say, rate_hz = np.random.default_rng(SEED), voice(lang), recognizer.cfg.features.sample_rate_hz
    heard: dict[str, list[Heard]] = {"as it is": [], "with fillers": []}
    added = 0
    for utterance in [u for u in manifest.read(path) if len((u.text or "").split()) > 1]:
        if len(heard["as it is"]) == LIMIT:
            break
        x = load_input(recognizer.cfg, utterance)
        plain = Heard(utterance.transcript, recognizer.log_probs([x])[0], len(x) / rate_hz)
        found = recognizer.search("", plain.log_probs, plain.seconds)
        if not (between := places(x, found.words, rate_hz)):
            continue
        count = min(len(between), max(1, round(len(found.words) / EVERY)))
        at = sorted(rng.choice(between, count, replace=False))
        sounds = [trim(soxr.resample(*say(str(rng.choice(FILLERS[lang])), rng), rate_hz)) for _ in at]
        y = filled(x, at, sounds, rate_hz, rng)
        heard["as it is"].append(plain)
        heard["with fillers"].append(Heard(plain.text, recognizer.log_probs([y])[0], len(y) / rate_hz))
        added += count
    return heard, added


def decode(recognizer: Recognizer, heard: Sequence[Heard], lang: str, rate: str) -> tuple[list[Counts], int]:
    """The errors of each utterance, and the number of fillers found."""
    counts, found = [], 0
    for utterance in heard:
        hypothesis = recognizer.search("", utterance.log_probs, utterance.seconds)
        found += sum(word.word in FILLERS[lang] for word in hypothesis.words)
        truth = " ".join(word for word in utterance.text.split() if word not in FILLERS[lang])
        counts.append(error_counts(truth, hypothesis.text, rate))
    return counts, found


def main(bundle: Path, path: Path, lang: str, rate: str, graphs: Sequence[str]) -> None:
    own = asr.load(bundle)
    own = own.with_decoder(dataclasses.replace(own.cfg.decoder, remove=list(FILLERS[lang])))
    recognizers = {"without": own}
    for folder in graphs:
        space = SearchSpace.read(folder, own.tokens)
        recognizers[Path(folder).name] = Recognizer(own.model, own.cfg, own.tokens, space, lexicon=own.lexicon)
    heard, added = hear(own, path, lang)
    minutes = {kind: round(sum(one.seconds for one in each) / 60, 2) for kind, each in heard.items()}
    print(f"{len(heard['as it is'])} utterances, {minutes} minutes, {added} fillers\n")
    print(f"| speech | graph | {rate} | difference (95 %) | fillers found |\n|---|---|---|---|---|")
    rows = []
    for kind, utterances in heard.items():
        first: list[Counts] = []
        for name, recognizer in recognizers.items():
            counts, found = decode(recognizer, utterances, lang, rate)
            first = first or counts
            compared = paired_bootstrap(counts, first)
            low, high = compared.interval
            rows.append({"speech": kind, "graph": name, rate: compared.first, "difference": compared.difference,
                         "interval": [low, high], "fillers_found": found})  # fmt: skip
            print(f"| {kind} | {name} | {compared.first:.2%} | {100 * compared.difference:+.2f} ({100 * low:+.2f} to "
                  f"{100 * high:+.2f}) | {found} |", flush=True)  # fmt: skip
    write("fillers", bundle, {"utterances": len(heard["as it is"]), "minutes": minutes, "fillers": added, "rows": rows})


if __name__ == "__main__":
    if len(sys.argv) < 6 or sys.argv[3] not in FILLERS:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
