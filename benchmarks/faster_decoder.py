"""How many times as fast as kaldi-decoder's FasterDecoder our search is, in phones and in characters.

    OMP_NUM_THREADS=1 python benchmarks/faster_decoder.py [FOLDER]

FOLDER defaults to ../shared/bench: the phones are those of the bench pack, the characters those of
benchmarks/char_peers.py, with its SIMULATED posteriors. Both systems search the same HLG. They decode 10 utterances in
turn, and the least of ROUNDS times of each such block counts, so that a busy machine harms neither. To run as on a
processor without AVX-512, set GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512BW,-AVX512VL,-AVX512DQ,-AVX512CD and
NPY_DISABLE_CPU_FEATURES="AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR". Prints JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from char_peers import UTTERANCES, simulate
from decode import Pack, read
from graph import read_pack
from rapidfuzz.distance import Levenshtein
from search_peers import System, faster_decoder, ours, write_const

from asr.graph import compile_graph
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.graph.pack import unpack
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, SPACE, Tokens

BEAMS, ROUNDS, BLOCK = (12.0, 16.0, 20.0), 5, 10


def characters(folder: Path, out: Path) -> Pack:
    refs = [line.split("\t")[1] for line in (folder / "refs.txt").read_text().splitlines()][:UTTERANCES]
    words = list(read_pack(folder)[1].pronunciations)
    tokens = Tokens([BLANK, SPACE, *sorted(set("".join(words)))])
    compile_graph(tokens, Lexicon.from_spelling(words, "char"), folder / "lm3.arpa.xz", out)
    names = (out / "words.txt").read_text().splitlines()
    return Pack(Graph.open(out / "graph.bin"), names, simulate(refs, tokens), [ref.split() for ref in refs])


def least(systems: list[System], pack: Pack) -> tuple[list[float], list[list[list[str]]]]:
    """CPU seconds per second of audio, and the words of each utterance, of each system."""
    seconds, words = [0.0] * len(systems), [[] for _ in systems]
    for first in range(0, len(pack.utterances), BLOCK):
        block = pack.utterances[first : first + BLOCK]
        took = np.full((ROUNDS, len(systems)), np.inf)
        for number in range(ROUNDS):
            for k, system in enumerate(systems):
                start = time.process_time()
                found = [system.decode(u) for u in block]
                took[number, k] = time.process_time() - start
                if not number:
                    words[k] += found
        seconds = [s + t for s, t in zip(seconds, took.min(0).tolist(), strict=True)]
    return [s / pack.audio_s for s in seconds], words


def compare(pack: Pack, folder: Path) -> list[dict[str, Any]]:
    import kaldifst

    start, final, source, arcs = unpack(folder / "graph.bin")
    write_const(
        Automaton.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"]),
        folder / "HLG.fst",
    )
    fst = kaldifst.StdConstFst.read(str(folder / "HLG.fst"))
    rows = []
    for beam in BEAMS:
        (theirs, own), words = least([faster_decoder(pack, fst, beam), ours(pack, beam)], pack)
        errors = [sum(map(Levenshtein.distance, found, pack.refs)) for found in words]
        rows.append({
            "beam": beam, "theirs": round(theirs, 7), "ours": round(own, 7), "times": round(theirs / own, 2),
            "wer": [round(100 * e / sum(map(len, pack.refs)), 2) for e in errors],
            "other_words": sum(a != b for a, b in zip(*words, strict=True)),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main(folder: Path) -> None:
    for name, make in (("phones", read), ("characters", characters)):
        with tempfile.TemporaryDirectory() as out:
            print(name, flush=True)
            compare(make(folder, Path(out)), Path(out))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
