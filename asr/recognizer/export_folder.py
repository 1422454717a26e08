"""The folder of `asr export`: a recogniser for other runtimes.

model.onnx, model.int8.onnx, tokens.txt, model.yaml                    any runtime; `asr import` reads the folder
sherpa-onnx/  the models again, tokens.txt, HLG.fst, words.txt         sherpa-onnx
onnx-asr/     the models again, config.json                            onnx-asr
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from asr.config import DecoderConfig
from asr.errors import InputError
from asr.files import atomic_write
from asr.graph.arrays import Arrays
from asr.graph.const_fst import to_bytes
from asr.models.exported import Graph
from asr.models.exported.graphs import token_lines
from asr.models.exported.sherpa import FOLDER
from asr.recognizer import bundle
from asr.tokens import BLANK_ID, Tokens

_MODELS = ("model.onnx", "model.int8.onnx")
FILES = (
    *_MODELS, "tokens.txt", "model.yaml",
    *(f"{FOLDER}/{name}" for name in (*_MODELS, "tokens.txt", "HLG.fst", "words.txt")),
    *(f"onnx-asr/{name}" for name in (*_MODELS, "config.json")),
)  # fmt: skip


def side_files(path: str | Path, opened: bundle.Bundle, graphs: Sequence[Graph]) -> tuple[dict[str, bytes], list[str]]:
    """The files beside the models of the bundle `path`, and sentences about those that are missing."""
    found = {
        str(Path(graph.folder, name)): text.encode()
        for graph in graphs
        for name, text in graph.side_files(opened.tokens, opened.cfg.tokens.unit).items()
    }
    if FOLDER not in [graph.folder for graph in graphs]:
        return found, []
    space, arrays = opened.space, bundle.read_graph(path)
    if space is None or arrays is None or space.graph.is_implicit:
        has = "no graph" if space is None else "a dynamic graph" if arrays is None else "a graph of implicit topology"
        return found, [f"HLG.fst: not written, since the bundle has {has}; it needs a static one (`asr graph`)"]
    found[f"{FOLDER}/HLG.fst"] = to_bytes(weighted(arrays, opened.cfg.decoder))
    found[f"{FOLDER}/words.txt"] = token_lines(list(space.words)).encode()
    return found, []


def weighted(graph: Arrays, decoder: DecoderConfig) -> Arrays:
    """The graph for a search without options: scale and penalties are in the costs."""
    arcs = graph.arcs.copy()
    is_blank = arcs["ilabel"] == Tokens.label(BLANK_ID)
    penalties = decoder.word_penalty * (arcs["olabel"] != 0) + decoder.blank_penalty * is_blank
    arcs["cost"] = (arcs["cost"] + penalties) / decoder.acoustic_scale
    return graph._replace(final_costs=(graph.final_costs / decoder.acoustic_scale).astype(np.float32), arcs=arcs)


def write(folder: str | Path, contents: Mapping[str, bytes]) -> None:
    """Write the files of an export.

    Raises InputError if the folder has a file of another export that this one would leave, since the two would not
    belong together.
    """
    stale = [name for name in FILES if name not in contents and Path(folder, name).exists()]
    if stale:
        raise InputError(f"{Path(folder, stale[0])} is of another export, which has files that this one lacks; delete "
                         "it, or name a new folder")  # fmt: skip
    for name, data in contents.items():
        with atomic_write(Path(folder, name), "wb") as file:
            file.write(data)
