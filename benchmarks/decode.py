"""Speed and word errors of the beam search on the bench pack.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [FOLDER]

FOLDER (default ../shared/bench) holds log-probs of 400 utterances, their words, a lexicon and a trigram. Prints, for
one thread, CPU seconds per second of audio (median of three runs) and WER:

- of the search
- with blank frames skipped, at a threshold chosen on the first half of the utterances and evaluated on the second
- with LG and the implicit topology instead of HLG
- with boosted phrases

and the time to open a large graph, the wall time of the batch with two threads, and for streams the latency from the
last chunk to the final words and the memory per stream. Writes benchmarks/results/decode.json. For peers see
benchmarks/search_peers.py.
"""

import ctypes
import json
import lzma
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graph import read_pack
from rapidfuzz.distance import Levenshtein

from asr.files import atomic_write
from asr.graph import compile_graph
from asr.graph.opened import Graph
from asr.graph.pack import HEADER
from asr.search.decoder import BestPath, Decoder
from asr.search.phrases import Phrases

RESULT = Path(__file__).parent / "results/decode.json"
FRAME_S, SCALE, RUNS = 0.04, 2.0, 3
BEAMS = (8.0, 12.0, 16.0, 20.0)
BEAM = 16.0  # in all tables except the first
SKIPS = (0.999, 0.99, 0.97, 0.95, 0.9, 0.8, 0.7)
MOST_WORSE = 0.05  # allowed increase of WER (percentage points) by skipping blanks
CHUNK = 8  # frames
PHRASES, BOOST = 10_000, 3.0
LARGE = (15_000_000, 55_000_000)  # states and arcs of a graph of 1 GB
STREAMS = 50


@dataclass(frozen=True)
class Pack:
    graph: Graph
    words: list[str]
    utterances: list[np.ndarray]
    refs: list[list[str]]

    def part(self, begin: int, end: int) -> "Pack":
        return Pack(self.graph, self.words, self.utterances[begin:end], self.refs[begin:end])

    @property
    def audio_s(self) -> float:
        return sum(map(len, self.utterances)) * FRAME_S


def read(folder: Path, out: Path) -> Pack:
    log_probs = np.load(folder / "logp_f16.npy").astype(np.float32)
    offsets = np.load(folder / "offsets.npy")
    utterances = [np.ascontiguousarray(log_probs[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]
    refs = [line.split("\t")[1].split() for line in (folder / "refs.txt").read_text().splitlines()]
    tokens, lexicon = read_pack(folder)
    compile_graph(tokens, lexicon, folder / "lm3.arpa.xz", out)
    return Pack(Graph.open(out / "graph.bin"), (out / "words.txt").read_text().splitlines(), utterances, refs)


def measure(pack: Pack, beam: float = BEAM, blank_skip: float | None = None) -> dict[str, float]:
    decoder = Decoder(pack.graph, beam=beam, acoustic_scale=SCALE, blank_skip=blank_skip)
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        paths = [decoder.decode(u) for u in pack.utterances]
        seconds.append(time.process_time() - start)
    return {
        "beam": beam,
        **({"blank_skip": blank_skip} if blank_skip else {}),
        "rtf": round(statistics.median(seconds) / pack.audio_s, 6),
        "wer": measure_wer(pack, paths),
    }


def measure_skips(pack: Pack) -> dict[str, object]:
    """The fastest threshold that costs the first half at most MOST_WORSE of WER, and its effect on the second."""
    first, second = pack.part(0, len(pack.refs) // 2), pack.part(len(pack.refs) // 2, len(pack.refs))
    whole = measure(first)
    rows = [measure(first, blank_skip=skip) for skip in SKIPS]
    chosen = min((row for row in rows if row["wer"] <= whole["wer"] + MOST_WORSE), key=lambda row: row["rtf"])
    return {
        "first_half": [whole, *rows],
        "second_half": [measure(second), measure(second, blank_skip=chosen["blank_skip"])],
        "share_of_blank_frames": round(blank_share(second, chosen["blank_skip"]), 3),
    }


def measure_topologies(pack: Pack, folder: Path, out: Path) -> dict[str, object]:
    """HLG and LG in turn: CPU seconds, and whether their results are equal."""
    tokens, lexicon = read_pack(folder)
    compile_graph(tokens, lexicon, folder / "lm3.arpa.xz", out, topology="implicit")
    graphs = {"explicit": pack.graph, "implicit": Graph.open(out / "graph.bin")}
    rows = []
    for beam in BEAMS:
        decoders = {name: Decoder(graph, beam=beam, acoustic_scale=SCALE) for name, graph in graphs.items()}
        paths = {name: [d.decode(u) for u in pack.utterances] for name, d in decoders.items()}
        rtfs = in_turn({name: (d, None) for name, d in decoders.items()}, pack)
        same = sum(a.labels == b.labels for a, b in zip(*paths.values(), strict=True))
        rows.append({"beam": beam, **rtfs, "same_words": f"{same} of {len(pack.utterances)}"})
    arcs = {name: graph.num_arcs for name, graph in graphs.items()}
    return {"arcs": arcs, "rows": rows}


def measure_phrases(pack: Pack, folder: Path) -> dict[str, object]:
    """The cost of phrases that are not spoken: random word pairs, like names; random n-grams of the LM, which have
    frequent words; and random words, which change the results."""
    rng = np.random.default_rng(1)
    labels = {word: label for label, word in enumerate(pack.words)}
    listed = [line.split("\t")[1].split() for line in lzma.open(folder / "lm3.arpa.xz", "rt") if line.startswith("-")]
    ngrams = [n for n in listed if len(n) > 1 and all(word in labels for word in n)]
    drawn = [[labels[word] for word in ngrams[k]] for k in rng.choice(len(ngrams), PHRASES, replace=False)]
    pairs = rng.integers(1, len(pack.words), (PHRASES, 2)).tolist()
    sets = {
        "none": [],
        "one": pairs[:1],
        "100 pairs": pairs[:100],
        f"{PHRASES} pairs": pairs,
        f"{PHRASES} n-grams": drawn,
        f"{PHRASES} words": (1 + rng.choice(len(pack.words) - 1, (PHRASES, 1), replace=False)).tolist(),
    }
    decoder = Decoder(pack.graph, beam=BEAM, acoustic_scale=SCALE)
    boosted = {
        name: Phrases([(p, BOOST) for p in phrases], len(pack.words) - 1) for name, phrases in sets.items() if phrases
    }
    rtfs = in_turn({"none": (decoder, None), **{name: (decoder, phrases) for name, phrases in boosted.items()}}, pack)
    wers = {name: measure_wer(pack, [decoder.decode(u, boosted.get(name)) for u in pack.utterances]) for name in rtfs}
    return {name: {"times": round(rtf / rtfs["none"], 2), "wer": wers[name]} for name, rtf in rtfs.items()}


def measure_open(path: Path) -> dict[str, float]:
    """Seconds to open a sparse file of the size of a large graph, whose states are checked during search."""
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["num_states"], header["num_arcs"] = b"asrgraph", 1, *LARGE
    header["num_bytes"] = HEADER.itemsize + 16 * sum(LARGE)
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(int(header["num_bytes"]))
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        Graph.open(path)
        seconds.append(time.perf_counter() - start)
    return {"gb": round(int(header["num_bytes"]) / 2**30, 2), "ms": round(1e3 * max(seconds), 1)}


def in_turn(systems: dict[str, tuple[Decoder, Phrases | None]], pack: Pack) -> dict[str, float]:
    """CPU seconds per second of audio, medians over runs. Each utterance is decoded by all systems in turn, each time
    beginning with another one, so that other work on the machine and warm caches favour none."""
    seconds: dict[str, list[float]] = {name: [0.0] * (RUNS + 2) for name in systems}
    names = list(systems)
    for run in range(RUNS + 2):
        for k, u in enumerate(pack.utterances):
            first = (k + run) % len(names)
            for name in names[first:] + names[:first]:
                decoder, phrases = systems[name]
                start = time.process_time()
                decoder.decode(u, phrases)
                seconds[name][run] += time.process_time() - start
    return {name: round(statistics.median(runs) / pack.audio_s, 6) for name, runs in seconds.items()}


def measure_wer(pack: Pack, paths: list[BestPath]) -> float:
    errors = sum(
        Levenshtein.distance([pack.words[label] for label in path.labels], ref)
        for path, ref in zip(paths, pack.refs, strict=True)
    )
    return round(100 * errors / sum(map(len, pack.refs)), 2)


def blank_share(pack: Pack, probability: float) -> float:
    """The share of frames whose blank has at least this probability."""
    return float(np.mean(np.concatenate(pack.utterances)[:, 0] >= np.log(probability)))


def measure_batch(pack: Pack) -> dict[str, float]:
    """Wall seconds of the whole pack with one and with two threads, in turn."""
    decoder = Decoder(pack.graph, beam=BEAM, acoustic_scale=SCALE)
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(RUNS + 1):
        for threads, seconds in walls.items():
            start = time.perf_counter()
            decoder.decode_batch(pack.utterances, threads)
            seconds.append(time.perf_counter() - start)
    one, two = (seconds[1:] for seconds in walls.values())
    ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
    return {"one_thread_s": round(statistics.median(one), 3), "two_threads_faster": round(ratio, 2)}


def measure_streams(pack: Pack) -> dict[str, float]:
    decoder = Decoder(pack.graph, beam=BEAM, acoustic_scale=SCALE)
    ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory is reused and not counted
    before = own_mb()
    streams = [decoder.stream() for _ in range(STREAMS)]
    for stream, u in zip(streams, pack.utterances, strict=False):
        stream.accept(u)
    mb_a_stream = (own_mb() - before) / STREAMS
    seconds = []
    for u in pack.utterances:
        stream = decoder.stream()
        last = (len(u) - 1) // CHUNK * CHUNK
        for begin in range(0, last, CHUNK):
            stream.accept(u[begin : begin + CHUNK])
        start = time.perf_counter()
        stream.accept(u[last:])
        stream.finish()
        seconds.append(time.perf_counter() - start)
    return {
        "last_chunk_p99_ms": round(1e3 * float(np.quantile(seconds, 0.99)), 2),
        "mb_a_stream": round(mb_a_stream, 2),
    }


def own_mb() -> float:
    """Resident memory of this process without mapped files such as the graph."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(folder: Path) -> None:
    result: dict[str, object] = {"acoustic_scale": SCALE, "runs": RUNS}
    with tempfile.TemporaryDirectory() as out:
        pack = read(folder, Path(out) / "graph")
        result["stream"] = measure_streams(pack)
        result["rows"] = rows = [measure(pack, beam) for beam in BEAMS]
        for row in rows:
            print(f"beam {row['beam']:4g}: {row['rtf']:.5f} CPU s per second of audio, WER {row['wer']:.2f} %")
        result["blank_skip"] = measure_skips(pack)
        result["batch"] = measure_batch(pack)
        result["open"] = measure_open(Path(out) / "large.bin")
        result["phrases"] = measure_phrases(pack, folder)
        result["topology"] = measure_topologies(pack, folder, Path(out) / "implicit")
        print(json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1))
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
