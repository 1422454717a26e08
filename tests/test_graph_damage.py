"""Damaged graph files: each is refused with a message or is still a valid graph; none crashes."""

import io
import time
from math import inf

import numpy as np
import pytest
from random_graphs import random_arrays, random_log_probs, without_epsilon_cycles

from asr import _decoder
from asr.errors import InputError
from asr.graph import ngram_file, opened, tree_file
from asr.graph.arrays import Block
from asr.graph.dynamic import compile_dynamic
from asr.graph.opened import Graph
from asr.graph.pack import HEADER, Writer, to_bytes
from asr.search.decoder import Decoder
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens


def damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.integers(0, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    if rng.random() < 0.2:
        del data[rng.integers(len(data)) :]
    if rng.random() < 0.1:
        data += rng.bytes(int(rng.integers(1, 40)))
    return bytes(data)


@pytest.mark.parametrize("whole", [True, False])
def test_any_damage_is_refused_or_searched(tmp_path, monkeypatch, whole):
    """Checked fully when opened, or state by state in the search, as large graphs are."""
    monkeypatch.setattr(opened, "CHECKED_BYTES", 2**30 if whole else 0)
    rng = np.random.default_rng(1)
    refused = searched = 0
    for _ in range(1000):
        data = damaged(rng, to_bytes(without_epsilon_cycles(random_arrays(rng, 12, 60, 5, finals=0.7))))
        path = tmp_path / "graph.bin"
        path.write_bytes(data)
        try:
            graph = Graph.open(path)
            decoder = Decoder(graph, beam=20.0, lattice_beam=5.0)
            decoded = decoder.decode_lattice(random_log_probs(rng, 6, 5, impossible=0.0))
            assert decoded.path.cost < inf
            decoded.lattice.nbest(3)
            searched += 1
        except InputError as e:
            assert str(e)
            refused += 1
    assert refused > 200 and searched > 200


def test_each_damaged_header_byte_is_refused_or_harmless():
    rng = np.random.default_rng(2)
    data = to_bytes(random_arrays(rng, 5, 20, 3, finals=1.0, epsilons=0.0))
    log_probs = random_log_probs(rng, 4, 3, impossible=0.0)
    for position in range(64):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                Decoder(Graph.from_bytes(bytes(changed)), lattice_beam=4.0).decode_lattice(log_probs)
            except InputError:
                continue


@pytest.mark.parametrize("count", ["num_states", "num_arcs"])
def test_graphs_of_more_than_31_bits_are_refused(tmp_path, count):
    """A sparse file of 32 GB: the search numbers states and arcs by 31 bits."""
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["num_states"] = b"asrgraph", 1, 2
    header[count] = 1 << 31
    header["num_bytes"] = 64 + 16 * (int(header["num_states"]) + int(header["num_arcs"]))
    with (tmp_path / "graph.bin").open("wb") as file:
        file.write(header.tobytes())
        file.truncate(int(header["num_bytes"]))
    with pytest.raises(InputError, match=r"graph.bin: the graph has 2147483648 \w+, more than 2\^31 - 1"):
        Graph.open(tmp_path / "graph.bin")


def test_counts_of_more_than_31_bits_are_not_written():
    with pytest.raises(InputError, match="2147483648 states, more than"):
        Writer(io.BytesIO(), 0, 1 << 31)
    rng = np.random.default_rng(3)
    start, final, sources, arcs = random_arrays(rng, 5, 20, 3)
    writer = Writer(io.BytesIO(), start, 5)
    writer.num_arcs = (1 << 31) - 20
    with pytest.raises(InputError, match="2147483648 arcs, more than"):
        writer.add(Block(final, sources, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"]))


def test_graphs_must_be_aligned():
    data = to_bytes(random_arrays(np.random.default_rng(4), 5, 20, 3))
    shifted = np.zeros(len(data) + 4, np.uint8)[4:]
    shifted[:] = np.frombuffer(data, np.uint8)
    with pytest.raises(ValueError, match="not aligned to 8 bytes"):
        _decoder.Graph(shifted, True)
    assert Graph.from_bytes(shifted).num_arcs == 20


def test_large_graphs_open_in_constant_time(tmp_path):
    """A sparse file of 1 GB, of which only the header is read."""
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["num_states"] = b"asrgraph", 1, (1 << 26) - 4
    header["num_bytes"] = 64 + 16 * int(header["num_states"])
    with (tmp_path / "graph.bin").open("wb") as file:
        file.write(header.tobytes())
        file.truncate(int(header["num_bytes"]))
    start = time.process_time()
    graph = Graph.open(tmp_path / "graph.bin")
    assert time.process_time() - start < 0.5  # 0.05 on an idle machine
    assert graph.num_states == (1 << 26) - 4


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """tree.bin and lm.ngram of the words a and b."""
    folder = tmp_path_factory.mktemp("language")
    unigrams = "".join(f"-1\t{word}\n" for word in ("<unk>", "<s>", "</s>", "a", "b"))
    (folder / "lm.arpa").write_text(f"\\data\\\nngram 1=5\n\n\\1-grams:\n{unigrams}\n\\end\\\n")
    lexicon = Lexicon({"a": [("a",)], "b": [("b", "a")]})
    compile_dynamic(Tokens(["<blk>", "a", "b"]), lexicon, folder / "lm.arpa", folder / "graph")
    return [np.fromfile(folder / "graph" / name, np.uint8) for name in ("tree.bin", "lm.ngram")]


def test_a_word_under_two_numbers_is_refused(language):
    """Its spellings would be listed once per number, for every history: gigabytes from a file of megabytes."""
    tree, ngram = language
    assert _decoder.Language(tree, ngram, np.array([0, 1, 2], np.uint32))
    with pytest.raises(ValueError, match="two words of the n-gram model are the same word"):
        _decoder.Language(tree, ngram, np.array([0, 1, 1], np.uint32))


def test_repeated_arcs_of_a_history_are_refused(language):
    tree, ngram = language
    changed = ngram.copy()
    arcs = ngram_file.NgramFile(changed, "lm.ngram").arcs  # a view
    arcs["word"][1] = arcs["word"][0]
    with pytest.raises(ValueError, match="not sorted by word"):
        _decoder.Language(tree, changed, np.array([0, 1, 2], np.uint32))


@pytest.mark.parametrize(("kind", "file"), [("tree", 0), ("ngram", 1)])
def test_counts_beyond_the_file_or_31_bits_are_refused(language, kind, file):
    header = tree_file.HEADER if kind == "tree" else ngram_file.HEADER
    for name in (n for n in header.names if n.startswith("num_") and n != "num_bytes"):
        for count in (2**31, 2**32 - 1):
            changed = [part.copy() for part in language]
            changed[file][: header.itemsize].view(header)[name] = count
            with pytest.raises(ValueError, match="damaged|more than 2"):
                _decoder.Language(*changed, np.array([0, 1, 2], np.uint32))
