"""Our search against its peers on the bench pack: WER against speed, as a table and a plot.

    pip install -e .[bench]
    OMP_NUM_THREADS=1 python benchmarks/search_peers.py [FOLDER]

FOLDER defaults to ../shared/bench. The systems run in turn in one process, on one thread. Speed is CPU seconds per
second of audio, the median over rounds. On the same HLG: our search without and with word lattices, and kaldi-decoder's
FasterDecoder on a ConstFst. On the same lexicon and LM without a WFST: flashlight-text's LexiconDecoder. Writes
benchmarks/results/search_peers.json and docs/measured/search.png.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from decode import FRAME_S, SCALE, Pack, read
from graph import read_pack
from rapidfuzz.distance import Levenshtein

from asr.files import atomic_write
from asr.graph.automaton import Automaton
from asr.graph.pack import unpack
from asr.lm.model import LN10
from asr.search.decoder import Decoder

HERE = Path(__file__).parent
RESULT, PLOT = HERE / "results/search_peers.json", HERE.parent / "docs/measured/search.png"
ROUNDS = 3
BEAMS = (8.0, 10.0, 12.0, 14.0, 16.0, 20.0)
PEER_BEAMS = (12.0, 16.0, 20.0)
MAX_ACTIVE, LATTICE_BEAM = 7000, 8.0
FLASHLIGHT_BEAMS = (50, 200)


@dataclass(frozen=True)
class System:
    name: str
    beam: float
    decode: Callable[[np.ndarray], list[str]]  # log-probs (F, V) -> words
    every: int = 1  # slow systems decode only every n-th utterance


@dataclass
class Row:
    name: str
    beam: float
    rtf: float  # CPU seconds per second of audio
    wer: float  # %
    wer_second_half: float
    rtf_second_half: float


def ours(pack: Pack, beam: float, lattice_beam: float | None = None) -> System:
    decoder = Decoder(pack.graph, beam, MAX_ACTIVE, SCALE, lattice_beam=lattice_beam)

    def decode(u: np.ndarray) -> list[str]:
        path = decoder.decode(u) if lattice_beam is None else decoder.decode_lattice(u).path
        return [pack.words[label] for label in path.labels]

    return System("ours" if lattice_beam is None else "ours, word lattice", beam, decode)


def faster_decoder(pack: Pack, fst: Any, beam: float) -> System:
    """`fst`, a kaldifst.StdConstFst, must outlive the system."""
    import kaldi_decoder
    import kaldifst

    options = kaldi_decoder.FasterDecoderOptions(beam=beam, max_active=MAX_ACTIVE)
    decoder = kaldi_decoder.FasterDecoder(fst, options)

    def decode(u: np.ndarray) -> list[str]:
        decoder.decode(kaldi_decoder.DecodableCtc(u * np.float32(SCALE)))
        found, path = decoder.get_best_path()
        return [pack.words[label] for label in kaldifst.get_linear_symbol_sequence(path)[2]] if found else []

    return System("kaldi-decoder FasterDecoder", beam, decode)


def flashlight(folder: Path, arpa: Path) -> Callable[[int], System]:
    """Set up as in ../shared/bench/peer_decode.py: the trie needs a separator token, which never occurs."""
    from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions, SmearingMode, Trie
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    tokens, lexicon = read_pack(folder)
    separator = len(tokens)
    table = Dictionary([*lexicon.pronunciations, "<unk>"])
    lm = KenLM(str(arpa), table)
    trie, start = Trie(separator + 1, separator), lm.start(False)
    for word, spellings in lexicon.pronunciations.items():
        index = table.get_index(word)
        for units in spellings:
            trie.insert(tokens.encode(units), index, lm.score(start, index)[1])
    trie.smear(SmearingMode.MAX)

    def system(beam: int) -> System:
        options = LexiconDecoderOptions(
            beam_size=beam, beam_size_token=separator + 1, beam_threshold=25.0, lm_weight=LN10, word_score=0.0,
            unk_score=-np.inf, sil_score=0.0, log_add=False, criterion_type=CriterionType.CTC,
        )  # fmt: skip
        decoder = LexiconDecoder(options, trie, lm, separator, 0, table.get_index("<unk>"), [], False)

        def decode(u: np.ndarray) -> list[str]:
            padded = np.pad(u * np.float32(SCALE), ((0, 0), (0, 1)), constant_values=-1e4)
            found = decoder.decode(padded.ctypes.data, *padded.shape)
            return [table.get_entry(word) for word in found[0].words if word >= 0] if found else []

        return System("flashlight-text LexiconDecoder", beam, decode, every=8)

    return system


def measure(systems: list[System], pack: Pack) -> list[Row]:
    """In each round, every system decodes the pack once, in turn."""
    seconds: list[list[list[float]]] = [[] for _ in systems]  # system, round, utterance
    words: list[list[list[str]]] = [[] for _ in systems]
    for number in range(ROUNDS):
        for k, system in enumerate(systems):
            utterances = pack.utterances[:: system.every]
            system.decode(utterances[0])  # warm-up, not timed
            took, words[k] = [], []
            for u in utterances:
                start = time.process_time()
                words[k].append(system.decode(u))
                took.append(time.process_time() - start)
            seconds[k].append(took)
            print(f"round {number + 1}: {system.name} {system.beam:g}: {sum(took):.2f} s", flush=True)
    return [judge(*parts, pack) for parts in zip(systems, seconds, words, strict=True)]


def judge(system: System, seconds: list[list[float]], words: list[list[str]], pack: Pack) -> Row:
    refs = pack.refs[:: system.every]
    audio_s = np.array([len(u) * FRAME_S for u in pack.utterances[:: system.every]])
    errors = np.array([Levenshtein.distance(hyp, ref) for hyp, ref in zip(words, refs, strict=True)])
    count = np.array([len(ref) for ref in refs])
    took, second = np.array(seconds), slice(len(refs) // 2, None)

    def rtf(part: slice) -> float:
        return round(statistics.median(took[:, part].sum(1)) / float(audio_s[part].sum()), 7)

    def wer(part: slice) -> float:
        return round(100 * float(errors[part].sum() / count[part].sum()), 2)

    return Row(system.name, system.beam, rtf(slice(None)), wer(slice(None)), wer(second), rtf(second))


def plot(rows: list[Row]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        axes.plot([row.rtf for row in own], [row.wer for row in own], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("CPU seconds for a second of audio, one thread")
    axes.set_ylabel("WER, %")
    axes.legend()
    with atomic_write(PLOT, "wb") as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})


def main(folder: Path) -> None:
    import kaldifst

    with tempfile.TemporaryDirectory() as out:
        pack = read(folder, Path(out) / "graph")
        start, final, source, arcs = unpack(Path(out) / "graph/graph.bin")
        hlg = Automaton.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])
        write_const(hlg, Path(out) / "HLG.fst")
        del hlg, arcs
        with_beam = flashlight(folder, unpacked(folder / "lm3.arpa.xz", Path(out) / "lm.arpa"))
        systems = [ours(pack, beam) for beam in BEAMS]
        systems += [ours(pack, beam, min(LATTICE_BEAM, beam)) for beam in PEER_BEAMS]
        fst = kaldifst.StdConstFst.read(str(Path(out) / "HLG.fst"))
        systems += [faster_decoder(pack, fst, beam) for beam in PEER_BEAMS]
        systems += [with_beam(beam) for beam in FLASHLIGHT_BEAMS]
        rows = measure(systems, pack)
    for row in rows:
        print(f"{row.name:32} {row.beam:5g}  {row.rtf:.6f}  {row.wer:5.2f} %   second half {row.rtf_second_half:.6f} "
              f"{row.wer_second_half:5.2f} %")  # fmt: skip
    plot(rows)
    with atomic_write(RESULT) as file:
        json.dump({"rounds": ROUNDS, "acoustic_scale": SCALE, "rows": [asdict(row) for row in rows]}, file, indent=1)


def write_const(graph: Automaton, path: Path) -> None:
    import pywrapfst

    pywrapfst.convert(graph.to_openfst(), "const").write(str(path))


def unpacked(source: Path, path: Path) -> Path:
    import lzma
    import shutil

    with lzma.open(source) as packed, path.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/bench"))
