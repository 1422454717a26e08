"""The model of a second pass in a bundle: a neural language model, one of texts given their sound, or a packed n-gram,
which stays in the mapped file."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from asr.errors import InputError
from asr.graph.mapped_file import aligned
from asr.lm import trie_file
from asr.lm.attention.file import is_attention
from asr.lm.neural.file import is_neural
from asr.lm.score import Scorer
from asr.search.second_pass import BUNDLED, ENDINGS, NgramTexts, Rescorer, parsed

NEURAL, TRIE = "rescore.safetensors", "rescore.trie"
MEMBERS = frozenset((NEURAL, TRIE))  # a bundle holds one of them, or none


def member_of(source: str) -> str:
    """The name under which a bundle holds the file of a language model. Raises InputError if it cannot hold it."""
    if trie_file.is_trie(source):
        return TRIE
    if is_neural(source) or is_attention(source):
        return NEURAL
    if not os.path.exists(source) and source.endswith(ENDINGS):
        raise InputError(f"decoder.rescore={source} does not exist; check the path, or set decoder.rescore=null")
    raise InputError(f"decoder.rescore={source} is neither a model of `asr lm train` in safetensors nor a packed "
                     "n-gram (`asr lm convert LM.arpa NAME.trie`), which alone a bundle can hold; bundle with "
                     "decoder.rescore=null, and name it when you transcribe")  # fmt: skip


def opened(members: Mapping[str, memoryview], path: str | Path) -> Rescorer | None:
    """The language model among the members of a bundle, if there is one. Raises InputError naming a damaged one."""
    if TRIE in members:
        data = aligned(np.frombuffer(members[TRIE], np.uint8))
        return Rescorer(BUNDLED, NgramTexts(Scorer(trie_file.parse(data, f"{path}: {TRIE}"))))
    if NEURAL in members:
        return Rescorer(BUNDLED, parsed(bytes(members[NEURAL]), f"{path}: {NEURAL}"))
    return None
