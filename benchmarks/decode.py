"""Speed and word errors of the beam search, one thread.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [FOLDER]

FOLDER (../shared/bench unless given) is the decoder's bench pack: log-probs of 400 utterances, their words, a lexicon
and a trigram. Prints CPU seconds for a second of audio and WER, the median of three runs, and writes
benchmarks/results/decode.json. A peer on the same pack: `python FOLDER/peer_decode.py kaldi --hlg HLG.fst ...`.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from graph import read_pack
from rapidfuzz.distance import Levenshtein

from asr.files import atomic_write
from asr.graph import compile_graph
from asr.search import Decoder, Graph

RESULT = Path(__file__).parent / "results/decode.json"
FRAME_S, SCALE, RUNS = 0.04, 2.0, 3
BEAMS = (8.0, 12.0, 16.0, 20.0)


def main(folder: Path) -> None:
    log_probs = np.load(folder / "logp_f16.npy").astype(np.float32)
    offsets = np.load(folder / "offsets.npy")
    utterances = [np.ascontiguousarray(log_probs[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]
    refs = [line.split("\t")[1].split() for line in (folder / "refs.txt").read_text().splitlines()]
    tokens, lexicon = read_pack(folder)
    with tempfile.TemporaryDirectory() as out:
        compile_graph(tokens, lexicon, folder / "lm3.arpa.xz", Path(out) / "graph")
        graph = Graph.open(Path(out) / "graph/graph.bin")
        words = (Path(out) / "graph/words.txt").read_text().splitlines()
        rows = [measure(graph, words, utterances, refs, beam) for beam in BEAMS]
    with atomic_write(RESULT) as file:
        json.dump({"acoustic_scale": SCALE, "runs": RUNS, "rows": rows}, file, indent=1)


def measure(
    graph: Graph, words: list[str], utterances: list[np.ndarray], refs: list[list[str]], beam: float
) -> dict[str, float]:
    decoder = Decoder(graph, beam=beam, acoustic_scale=SCALE)
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        paths = [decoder.decode(u) for u in utterances]
        seconds.append(time.process_time() - start)
    errors = sum(
        Levenshtein.distance([words[label] for label in path.labels], ref)
        for path, ref in zip(paths, refs, strict=True)
    )
    audio_s = sum(map(len, utterances)) * FRAME_S
    row = {
        "beam": beam,
        "rtf": round(statistics.median(seconds) / audio_s, 6),
        "wer": round(100 * errors / sum(map(len, refs)), 2),
    }
    print(f"beam {beam:4g}: {row['rtf']:.5f} CPU s for a second of audio, WER {row['wer']:.2f} %")
    return row


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
