"""Speed and word errors of the beam search on the decoder's bench pack.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [FOLDER]

FOLDER (../shared/bench unless given) holds log-probs of 400 utterances, their words, a lexicon and a trigram. Prints
CPU seconds for a second of audio, one thread, median of three runs, and WER; the same with blank frames passed over,
whose threshold is chosen on the first half and judged on the second; the batch with two threads; and streams: how long
the last chunk takes to become the final words, and the memory of one. Writes benchmarks/results/decode.json. A peer on
the same pack: `python FOLDER/peer_decode.py kaldi --hlg HLG.fst ...`.
"""

import ctypes
import json
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
from asr.search import Decoder, Graph

RESULT = Path(__file__).parent / "results/decode.json"
FRAME_S, SCALE, RUNS = 0.04, 2.0, 3
BEAMS = (8.0, 12.0, 16.0, 20.0)
BEAM = 16.0  # of all but the first table
SKIPS = (0.999, 0.99, 0.97, 0.95, 0.9, 0.8, 0.7)
MOST_WORSE = 0.05  # % of WER that passing over blanks may cost
CHUNK = 8  # frames
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
    errors = sum(
        Levenshtein.distance([pack.words[label] for label in path.labels], ref)
        for path, ref in zip(paths, pack.refs, strict=True)
    )
    return {
        "beam": beam,
        **({"blank_skip": blank_skip} if blank_skip else {}),
        "rtf": round(statistics.median(seconds) / pack.audio_s, 6),
        "wer": round(100 * errors / sum(map(len, pack.refs)), 2),
    }


def measure_skips(pack: Pack) -> dict[str, object]:
    """The fastest threshold that costs the first half little, and what it does to the second."""
    first, second = pack.part(0, len(pack.refs) // 2), pack.part(len(pack.refs) // 2, len(pack.refs))
    whole = measure(first)
    rows = [measure(first, blank_skip=skip) for skip in SKIPS]
    chosen = min((row for row in rows if row["wer"] <= whole["wer"] + MOST_WORSE), key=lambda row: row["rtf"])
    return {
        "first_half": [whole, *rows],
        "second_half": [measure(second), measure(second, blank_skip=chosen["blank_skip"])],
        "share_of_blank_frames": round(blank_share(second, chosen["blank_skip"]), 3),
    }


def blank_share(pack: Pack, probability: float) -> float:
    """Of the frames, those whose blank is at least so likely."""
    return float(np.mean(np.concatenate(pack.utterances)[:, 0] >= np.log(probability)))


def measure_batch(pack: Pack) -> dict[str, float]:
    """Wall seconds of the whole pack with one and two threads, in turn."""
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
    ctypes.CDLL(None).malloc_trim(0)  # or memory that was used before would be used again, unseen
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
    """Resident memory of this process but for mapped files, such as the graph."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(folder: Path) -> None:
    result: dict[str, object] = {"acoustic_scale": SCALE, "runs": RUNS}
    with tempfile.TemporaryDirectory() as out:
        pack = read(folder, Path(out) / "graph")
        result["stream"] = measure_streams(pack)
        result["rows"] = rows = [measure(pack, beam) for beam in BEAMS]
        for row in rows:
            print(f"beam {row['beam']:4g}: {row['rtf']:.5f} CPU s for a second of audio, WER {row['wer']:.2f} %")
        result["blank_skip"] = measure_skips(pack)
        result["batch"] = measure_batch(pack)
        print(json.dumps({name: result[name] for name in ("stream", "blank_skip", "batch")}, indent=1))
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
