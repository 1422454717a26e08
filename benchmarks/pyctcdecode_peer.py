"""asr.integrations.transformers against pyctcdecode: the same calls, the same labels, n-gram, words and weights.

    OMP_NUM_THREADS=1 python benchmarks/pyctcdecode_peer.py [FOLDER] [RUN MANIFEST ARPA]

Texts, words and trigram are those of the bench pack (FOLDER, default ../shared/bench); the posteriors of the characters
are SIMULATED (benchmarks/char_peers.py). With RUN, the folder of a net trained with tokens.unit=char, the recordings of
MANIFEST are decoded too, with the words and n-gram of ARPA. Both systems have their default options; alpha and beta are
chosen for each on the first half of the texts, the figures are of the second half. The systems take turns in one
process, on one thread. Adds to benchmarks/results/pyctcdecode_peer.json.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from char_peers import simulate
from graph import read_pack
from rapidfuzz.distance import Levenshtein
from search_peers import unpacked

from asr.files import atomic_write
from asr.integrations.transformers import build_ctcdecoder
from asr.lm import arpa
from asr.manifest import read
from asr.tokens import BLANK, SPACE, Tokens
from asr.words import MARKS

RESULT = Path(__file__).parent / "results/pyctcdecode_peer.json"
UTTERANCES, RECORDINGS, ROUNDS = 8, 40, 3
WEIGHTS = list(product((0.3, 0.5, 0.8), (0.5, 1.5)))  # alpha, beta
Decode = Callable[[np.ndarray], str]


def wer(found: Sequence[str], texts: Sequence[str]) -> float:
    errors = sum(Levenshtein.distance(a.split(), b.split()) for a, b in zip(found, texts, strict=True))
    return round(100 * errors / sum(len(text.split()) for text in texts), 2)


def measure(labels: list[str], lm: Path, words: list[str], utterances: list[np.ndarray],
            texts: list[str]) -> dict[str, Any]:  # fmt: skip
    import pyctcdecode

    half = len(texts) // 2
    decoders: dict[str, Any] = {
        "ours": build_ctcdecoder(labels, lm, words),
        "pyctcdecode": pyctcdecode.build_ctcdecoder(labels, str(lm), words),
    }
    rows: dict[str, Any] = {name: {} for name in decoders}
    for name, decoder in decoders.items():
        errors = {}
        for alpha, beta in WEIGHTS:
            decoder.reset_params(alpha=alpha, beta=beta)
            errors[alpha, beta] = wer([decoder.decode(x) for x in utterances[:half]], texts[:half])
        alpha, beta = min(WEIGHTS, key=lambda pair, errors=errors: errors[pair])  # type: ignore[misc]
        decoder.reset_params(alpha=alpha, beta=beta)
        rows[name] = {"alpha": alpha, "beta": beta}
    calls: dict[str, Callable[[Any], Decode]] = {
        "decode": lambda decoder: decoder.decode,
        "decode_beams": lambda decoder: lambda x: decoder.decode_beams(x)[0][0],
    }
    for call, of in calls.items():
        seconds: dict[str, list[float]] = {name: [] for name in decoders}
        for _ in range(ROUNDS):
            for name, decoder in decoders.items():
                start = time.process_time()
                found = [of(decoder)(x) for x in utterances[half:]]
                seconds[name].append((time.process_time() - start) / len(found))
                rows[name][call] = {"wer": wer(found, texts[half:])}
        for name in decoders:
            rows[name][call]["cpu_ms"] = round(1000 * statistics.median(seconds[name]), 2)
        rows[f"{call} ratio"] = round(rows["pyctcdecode"][call]["cpu_ms"] / rows["ours"][call]["cpu_ms"], 1)
    return {"utterances": len(texts) - half, "frames": round(float(np.mean([len(x) for x in utterances]))), **rows}


def simulated(folder: Path, out: Path) -> dict[str, Any]:
    texts = [line.split("\t")[1] for line in (folder / "refs.txt").read_text().splitlines()][:UTTERANCES]
    words = list(read_pack(folder)[1].pronunciations)
    tokens = Tokens([BLANK, SPACE, *sorted(set("".join(words)))])
    labels = ["", " ", *tokens.symbols[2:]]
    return measure(labels, unpacked(folder / "lm3.arpa.xz", out / "lm.arpa"), words, simulate(texts, tokens), texts)


def recorded(run: Path, manifest: Path, lm: Path) -> dict[str, Any]:
    from asr.recognizer.opening import load

    recognizer = load(run)
    utterances = [u for u in read(manifest) if u.text][:RECORDINGS]
    log_probs = [recognizer.log_probs([recognizer.read(u.audio, None)])[0] for u in utterances]
    labels = ["", " ", *recognizer.tokens.symbols[2:]]
    words = [word for word in arpa.read(lm).words if word not in MARKS]
    return measure(labels, lm, words, log_probs, [u.text for u in utterances])


def main(folder: Path, *real: str) -> None:
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as out:
        result["simulated"] = simulated(folder, Path(out))
    if real:
        result["recorded"] = recorded(*map(Path, real))
    print(json.dumps(result, indent=1))
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"), *sys.argv[2:])
