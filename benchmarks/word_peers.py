"""PocketSphinx on the clips and lists of benchmarks/word_mode.py, in a separate virtual environment.

    python -m venv peers && peers/bin/pip install pocketsphinx soundfile
    peers/bin/python benchmarks/word_peers.py [ROOT]

Its grammar search (JSGF) over each list gives the words. Rejection uses the score of this search minus that of its
phone loop, per frame. Adds to benchmarks/results/word_mode.json, which must exist.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from pocketsphinx import Decoder, get_model_path

RESULT = Path(__file__).parent / "results/word_mode.json"
SILENCE = np.zeros(3200, np.int16)  # before and after each clip; without it, fewer words are recognised


def decode(decoder: Decoder, samples: np.ndarray) -> tuple[str, float]:
    """The recognised words, "" if none, and PocketSphinx's score of the path."""
    decoder.start_utt()
    decoder.process_raw(np.concatenate([SILENCE, samples, SILENCE]).tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return (found.hypstr, float(found.score)) if found else ("", -1e9)


def equal_error(inside: np.ndarray, outside: np.ndarray) -> float:
    thresholds = np.unique(np.concatenate([inside, outside]))
    refused = np.array([np.mean(inside < t) for t in thresholds])
    accepted = np.array([np.mean(outside >= t) for t in thresholds])
    at = np.argmin(np.abs(refused - accepted))
    return float(refused[at] + accepted[at]) / 2


def main(root: str = "../shared/data") -> None:
    folder = Path(root) / "commands_en"
    clips = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    sounds = [soundfile.read(folder / c["audio"], dtype="int16")[0] for c in clips]
    result = json.loads(RESULT.read_text())
    loop = Decoder(lm=None, allphone=get_model_path("en-us/en-us-phone.lm.bin"), loglevel="FATAL")
    against = [decode(loop, x)[1] for x in sounds]
    inside, outside, right = [], [], []
    tested = sorted({c["text"] for c in clips})
    for fold, words in enumerate(result["lists"]):
        half = tested[fold::2]
        with tempfile.NamedTemporaryFile("w", suffix=".jsgf") as grammar:
            grammar.write(f"#JSGF V1.0;\ngrammar words;\npublic <word> = {' | '.join(words)};\n")
            grammar.flush()
            decoder = Decoder(lm=None, jsgf=grammar.name, loglevel="FATAL")
        for clip, x, other in zip(clips, sounds, against, strict=True):
            found, score = decode(decoder, x)
            ratio = (score - other) / len(x)
            if clip["text"] in half:
                right.append(found == clip["text"])
                inside.append(ratio)
            else:
                outside.append(ratio)
    own = np.where(right, inside, -np.inf)
    result["pocketsphinx"] = {
        "accuracy": round(float(np.mean(right)), 4),
        "eer": round(equal_error(np.array(inside), np.array(outside)), 4),
        "eer_or_wrong": round(equal_error(own, np.array(outside)), 4),
    }
    print(result["pocketsphinx"])
    RESULT.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
