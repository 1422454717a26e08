"""Our search against pyctcdecode on character units: a KenLM n-gram and a word list.

    OMP_NUM_THREADS=1 python benchmarks/char_peers.py [FOLDER]

The texts, words and trigram are those of the bench pack (FOLDER, default ../shared/bench). The posteriors of the
characters are SIMULATED: each character is a peak, spread over characters with similar random embeddings, between
noisy blanks. The scales of both systems are chosen on the first half of the utterances. Speed (CPU seconds per second
of audio, one thread) and WER are measured on the second half. Writes benchmarks/results/char_peers.json.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from decode import FRAME_S
from graph import read_pack
from rapidfuzz.distance import Levenshtein
from search_peers import unpacked

from asr.files import atomic_write
from asr.graph import compile_graph
from asr.graph.opened import Graph
from asr.search.decoder import Decoder
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, SPACE, Tokens

RESULT = Path(__file__).parent / "results/char_peers.json"
UTTERANCES = 120
BEAMS, SCALES = (8.0, 12.0, 16.0), (0.7, 1.0, 1.4, 2.0)
PEER_BEAMS, ALPHAS = (25, 100), (0.5, 0.8, 1.2)
SPIKE, NOISE = 5.0, 1.3


def simulate(texts: list[str], tokens: Tokens) -> list[np.ndarray]:
    """Natural log-probs (F, V) of each text; the space is a character."""
    rng = np.random.default_rng(1)
    like = rng.normal(size=(len(tokens), 6))
    like /= np.linalg.norm(like, axis=1, keepdims=True)
    like = like @ like.T  # 1 on the diagonal
    made = []
    for text in texts:
        rows = []
        for letter in tokens.encode([SPACE if c == " " else c for c in text]):
            rows.append(SPIKE * like[letter])
            rows[-1][0] = 0.0
            rows += [SPIKE * (np.arange(len(tokens)) == 0)] * int(rng.integers(1, 3))
        logits = np.array(rows) + rng.normal(0, NOISE, (len(rows), len(tokens)))
        made.append((logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32))
    return made


def measure(decode: Callable[[np.ndarray], str], utterances: list[np.ndarray], texts: list[str]) -> dict[str, float]:
    decode(utterances[0])
    start = time.process_time()
    found = [decode(u) for u in utterances]
    seconds = time.process_time() - start
    errors = sum(Levenshtein.distance(h.split(), t.split()) for h, t in zip(found, texts, strict=True))
    audio_s = sum(map(len, utterances)) * FRAME_S
    return {"rtf": round(seconds / audio_s, 6), "wer": round(100 * errors / sum(len(t.split()) for t in texts), 2)}


def best_on_first(make: Callable[[float], Callable[[np.ndarray], str]], settings: tuple[float, ...],
                  utterances: list[np.ndarray], texts: list[str]) -> dict[str, float]:  # fmt: skip
    """The setting with the lowest WER on the first half, measured on the second half."""
    half = len(texts) // 2
    rows = {s: measure(make(s), utterances[:half], texts[:half])["wer"] for s in settings}
    chosen = min(settings, key=lambda s: rows[s])
    return {"setting": chosen, **measure(make(chosen), utterances[half:], texts[half:])}


def main(folder: Path) -> None:
    from pyctcdecode import build_ctcdecoder

    refs = [line.split("\t")[1] for line in (folder / "refs.txt").read_text().splitlines()][:UTTERANCES]
    _, pronunciations = read_pack(folder)
    words = list(pronunciations.pronunciations)
    tokens = Tokens([BLANK, SPACE, *sorted(set("".join(words)))])
    utterances = simulate(refs, tokens)
    result: dict[str, object] = {"utterances": len(refs), "spike": SPIKE, "noise": NOISE}
    with tempfile.TemporaryDirectory() as out:
        arpa = unpacked(folder / "lm3.arpa.xz", Path(out) / "lm.arpa")
        compile_graph(tokens, Lexicon.from_spelling(words, "char"), arpa, Path(out) / "graph", topology="implicit")
        graph = Graph.open(Path(out) / "graph/graph.bin")
        names = (Path(out) / "graph/words.txt").read_text().splitlines()

        def ours(beam: float) -> Callable[[float], Callable[[np.ndarray], str]]:
            def make(scale: float) -> Callable[[np.ndarray], str]:
                decoder = Decoder(graph, beam, acoustic_scale=scale)
                return lambda u: " ".join(names[label] for label in decoder.decode(u).labels)

            return make

        for beam in BEAMS:
            result[f"ours {beam:g}"] = best_on_first(ours(beam), SCALES, utterances, refs)
            print(f"ours {beam:g}", result[f"ours {beam:g}"], flush=True)
        labels = ["", " ", *tokens.symbols[2:]]
        for width in PEER_BEAMS:

            def peer(alpha: float, width: int = width) -> Callable[[np.ndarray], str]:
                decoder = build_ctcdecoder(labels, str(arpa), words, alpha=alpha, beta=0.5)
                return lambda u: decoder.decode(u, beam_width=width)

            result[f"pyctcdecode {width}"] = best_on_first(peer, ALPHAS, utterances, refs)
            print(f"pyctcdecode {width}", result[f"pyctcdecode {width}"], flush=True)
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
