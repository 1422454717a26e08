"""The cost of boosted phrases that are not spoken: how many times as long as without phrases the search takes.

    OMP_NUM_THREADS=1 python benchmarks/phrases.py FOLDER [BEAMS [EVERY [EXTENSION.so]]]

FOLDER keeps the static graph of the bench pack (../shared/bench), which the first run compiles. BEAMS are separated by
commas (16), EVERY is the step between the utterances that are searched (1). EXTENSION is another build of asr._decoder,
for a comparison of two versions of the search. Each utterance is searched with all lists in turn, and the least CPU
time of `ROUNDS` counts. Prints for each list the ratio, the sum of the costs and a digest of all words.
"""

import hashlib
import importlib.util
import lzma
import random
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from graph import read_pack

BENCH = Path(__file__).parents[2] / "shared/bench"
COUNT, BOOST, SCALE, ROUNDS = 10_000, 3.0, 2.0, 2


def use_extension(path: str) -> None:
    import asr

    spec = importlib.util.spec_from_file_location("asr._decoder", path)
    assert spec and spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["asr._decoder"] = asr._decoder = module  # type: ignore[attr-defined]


def compiled(folder: Path) -> Path:
    """The static graph of the bench pack."""
    from asr.graph import compile_graph

    if not (folder / "hlg/graph.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lm3.arpa").write_bytes(lzma.decompress((BENCH / "lm3.arpa.xz").read_bytes()))
        tokens, lexicon = read_pack(BENCH)
        compile_graph(tokens, lexicon, folder / "lm3.arpa", folder / "hlg", draw_states=0)
    return folder / "hlg"


def drawn(labels: dict[str, int], arpa: Path) -> dict[str, list[list[int]]]:
    """The lists, as labels: drawn words, and n-grams of the language model."""
    draw, last = random.Random(1), len(labels) - 1
    ngrams = []
    with arpa.open(encoding="utf-8") as file:
        for line in file:
            words = line.split("\t")[1].split() if "\t" in line else []
            if len(words) > 1 and all(labels.get(word) for word in words):
                ngrams.append([labels[word] for word in words])
    return {
        "one": [draw.sample(range(1, last), 2)],
        "pairs": [draw.choices(range(1, last), k=2) for _ in range(COUNT)],
        "n-grams": draw.sample(ngrams, COUNT),
        "single words": [[word] for word in draw.sample(range(1, last), COUNT)],
    }


def main(folder: Path, beams: str = "16", every: str = "1", extension: str = "") -> None:
    if extension:
        use_extension(extension)
    from asr.graph.opened import Graph
    from asr.search.decoder import Decoder
    from asr.search.phrases import Phrases

    hlg = compiled(folder)
    words = (hlg / "words.txt").read_text(encoding="utf-8").split("\n")[:-1]
    labels = {word: label for label, word in enumerate(words)}
    offsets, log_probs = np.load(BENCH / "offsets.npy"), np.load(BENCH / "logp_f16.npy", mmap_mode="r")
    bounds = list(zip(offsets[:-1], offsets[1:], strict=True))[:: int(every)]
    utterances = [np.ascontiguousarray(log_probs[begin:end].astype(np.float32)) for begin, end in bounds]
    lists = drawn(labels, folder / "lm3.arpa")
    boosted = {name: Phrases([(labels, BOOST) for labels in found], len(words) - 1) for name, found in lists.items()}
    searches = {"none": None, **boosted}
    graph = Graph.open(hlg / "graph.bin")
    for beam in map(float, beams.split(",")):
        decoder = Decoder(graph, beam=beam, acoustic_scale=SCALE)
        seconds, costs = dict.fromkeys(searches, 0.0), dict.fromkeys(searches, 0.0)
        texts = {name: hashlib.md5() for name in searches}
        for utterance in utterances:
            least = dict.fromkeys(searches, float("inf"))
            for number in range(ROUNDS + 1):  # the first warms the caches
                for name, phrases in searches.items():
                    start = time.thread_time()
                    path = decoder.decode(utterance, phrases)
                    if number:
                        least[name] = min(least[name], time.thread_time() - start)
                    else:
                        costs[name] += path.cost
                        texts[name].update(str(path.labels).encode())
            for name in searches:
                seconds[name] += least[name]
        for name in searches:
            ratio = seconds[name] / seconds["none"]
            print(f"beam {beam:g}  {name:12}  {ratio:.3f}  {costs[name]:.2f}  {texts[name].hexdigest()[:8]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
