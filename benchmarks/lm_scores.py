"""Scores of words: ours (csrc/lm/scorer.h) against kenlm, on the same ARPA files and sentences.

    python benchmarks/lm_scores.py TEXT ARPA ...

Reports the largest difference of log10 probabilities per word, how many words differ in being unknown and in the length
of the n-gram used, how many states of one model meet several of the other, and CPU seconds to load and to score all
sentences with `full_scores`. kenlm reads orders from 2 on. Rows of other models stay in
benchmarks/results/lm_scores.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import kenlm

from asr.files import atomic_write
from asr.lm.score import Scorer, load
from asr.lm.texts import sentences

RESULT = Path(__file__).parent / "results/lm_scores.json"
T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    start_s = time.process_time()
    return call(), time.process_time() - start_s


def open_peer(arpa: str) -> kenlm.Model:
    config = kenlm.Config()
    config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    return kenlm.Model(arpa, config)


def states_that_differ(ours: Scorer, peer: kenlm.Model, texts: list[str]) -> int:
    """How many states of either model meet more than one state of the other."""
    pairs = set()
    for text in texts:
        state, peer_state = ours.begin, kenlm.State()
        peer.BeginSentenceWrite(peer_state)
        for word in text.split():
            before, peer_state = peer_state, kenlm.State()
            peer.BaseScore(before, word, peer_state)
            state, _ = ours.step(state, word)
            pairs.add((state, peer_state))
    return 2 * len(pairs) - len({a for a, _ in pairs}) - len({b for _, b in pairs})


def compare(arpa: str, texts: list[str]) -> dict[str, object]:
    ours, load_s = timed(lambda: load(arpa))
    peer, peer_load_s = timed(lambda: open_peer(arpa))
    found, score_s = timed(lambda: [list(ours.full_scores(text)) for text in texts])
    expected, peer_score_s = timed(lambda: [list(peer.full_scores(text)) for text in texts])
    pairs = [(a, b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True)]
    return {
        "arpa": Path(arpa).name,
        "predictions": len(pairs),
        "unknown": sum(a[2] for a, _ in pairs),
        "largest_difference": max(abs(a[0] - b[0]) for a, b in pairs),
        "other_unknown": sum(a[2] != b[2] for a, b in pairs),
        "other_lengths": sum(a[1] != b[1] for a, b in pairs),
        "other_states": states_that_differ(ours, peer, texts),
        "load_cpu_s": round(load_s, 2),
        "kenlm_load_cpu_s": round(peer_load_s, 2),
        "score_cpu_s": round(score_s, 2),
        "kenlm_score_cpu_s": round(peer_score_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("arpa", nargs="+")
    args = parser.parse_args()
    texts = list(sentences([args.text]))
    rows = [compare(arpa, texts) for arpa in args.arpa]
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    others = json.loads(RESULT.read_text()) if RESULT.exists() else []
    others = [row for row in others if row["arpa"] not in {row["arpa"] for row in rows}]
    with atomic_write(RESULT) as file:
        json.dump(others + rows, file, indent=1)


if __name__ == "__main__":
    main()
