"""Word times and confidences of the search on the bench pack.

    OMP_NUM_THREADS=1 python benchmarks/confidence.py [FOLDER]

FOLDER (default ../shared/bench) also holds the true token of each frame. Times: for each correct word, the distance in
ms between its start and the true start of its first token, and between its end and the true end of its last token.
Confidences: calibrated on the first half of the utterances, evaluated on the second. Writes
benchmarks/results/confidence.json and docs/measured/confidence.png.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from decode import FRAME_S, SCALE, Pack, read
from graph import read_pack

from asr.evaluation.calibrate import are_correct
from asr.evaluation.calibration_plot import plot_calibration
from asr.evaluation.score import align
from asr.files import atomic_write
from asr.search.confidence import Calibration, calibration_error, coverage
from asr.search.decoder import Decoder
from asr.search.searchers import Found, GraphSearcher, SearchSpace
from asr.search.word_times import match_words, segments

HERE = Path(__file__).parent
RESULT, PLOT = HERE / "results/confidence.json", HERE.parent / "docs/measured/confidence.png"
BEAM, LATTICE_BEAM = 16.0, 8.0


def true_spans(folder: Path, pack: Pack) -> list[list[tuple[int, int]]]:
    """For each word of each utterance, the frames [start of its first token, end of its last token)."""
    tokens, lexicon = read_pack(folder)
    offsets, aligned = np.load(folder / "offsets.npy"), np.load(folder / "ali.npy")
    spans = []
    for k, ref in enumerate(pack.refs):
        found = segments(aligned[offsets[k] : offsets[k + 1]], pack.utterances[k])
        spellings = [[tuple(tokens.encode(units)) for units in lexicon.pronunciations[word]] for word in ref]
        words = match_words([s.token for s in found], spellings, set())
        spans.append([(found[word[0]].start, found[word[-1]].end) for word in words])
    return spans


def time_errors_ms(pack: Pack, spans: list[list[tuple[int, int]]], results: list[Found]) -> np.ndarray:
    """(W, 2) for the correct words: hypothesis minus truth, of start and end."""
    errors = []
    for ref, truth, found in zip(pack.refs, spans, results, strict=True):
        i = j = 0
        for edit in align(ref, [w.word for w in found.words]):
            if edit.op == "C":
                own = found.words[j].segments
                errors.append((own[0].start - truth[i][0], own[-1].end - truth[i][1]))
            i += edit.op != "I"
            j += edit.op != "D"
    return 1000 * FRAME_S * np.array(errors)


def measure_confidences(pack: Pack, results: list[Found]) -> dict[str, object]:
    half = len(results) // 2
    posteriors = [
        np.array([w.confidence for found in part for w in found.words]) for part in (results[:half], results[half:])
    ]
    correct = [
        np.array([c for found, ref in part for c in are_correct([w.word for w in found.words], ref)])
        for part in (
            list(zip(results, pack.refs, strict=True))[:half],
            list(zip(results, pack.refs, strict=True))[half:],
        )
    ]
    calibration = Calibration.fit(posteriors[0], correct[0])
    after = np.array(calibration.apply(posteriors[1]))
    plot_calibration(posteriors[1], after, correct[1], PLOT)
    _, kept, right = coverage(after, correct[1])
    return {
        "words": len(after),
        "correct": round(float(correct[1].mean()), 4),
        "scale": round(calibration.scale, 3),
        "offset": round(calibration.offset, 3),
        "error_before": round(calibration_error(posteriors[1], correct[1]), 4),
        "error_after": round(calibration_error(after, correct[1]), 4),
        "correct_of_the_surest": {
            f"{s:.0%}": round(float(right[np.searchsorted(kept, s)]), 4) for s in (0.8, 0.9, 0.95)
        },
    }


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        pack = read(folder, Path(out) / "graph")
        tokens, _ = read_pack(folder)
        space = SearchSpace.read(Path(out) / "graph", tokens)
        decoder = Decoder(space.graph, BEAM, acoustic_scale=SCALE, lattice_beam=LATTICE_BEAM)
        searcher = GraphSearcher(decoder, space, tokens)
        results = [searcher.search(u) for u in pack.utterances]
        errors = np.abs(time_errors_ms(pack, true_spans(folder, pack), results))
        labels = {word: label for label, word in enumerate(pack.words)}
        lattices = [decoder.decode_lattice(u).lattice for u in pack.utterances]
    oracle = sum(x.oracle([labels.get(w, -1) for w in ref]) for x, ref in zip(lattices, pack.refs, strict=True))
    result = {
        "beam": BEAM,
        "lattice_beam": LATTICE_BEAM,
        "times_ms": {
            name: {"median": float(np.median(x)), "mean": round(float(x.mean()), 1), "p95": float(np.quantile(x, 0.95))}
            for name, x in (("begin", errors[:, 0]), ("end", errors[:, 1]))
        },
        "confidence": measure_confidences(pack, results),
        "lattice": {
            "oracle_wer": round(100 * oracle / sum(map(len, pack.refs)), 2),
            "arcs_a_word": round(sum(x.num_arcs for x in lattices) / sum(map(len, pack.refs)), 1),
        },
    }
    print(json.dumps(result, indent=1))
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
