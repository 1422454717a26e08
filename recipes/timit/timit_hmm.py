"""HMMs of the CMU dictionary's phones for the boundaries of TIMIT's sentences: see docs/measured/align.md.

They are trained on words alone, `heard=half` on those of every second speaker, so that the others are strangers, or
`heard=all` on the sentences that are to be aligned, as is usual. The boundaries that people set are not used.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config, G2pConfig
from asr.data import corpora
from asr.errors import InputError
from asr.g2p.pronunciation import guesser
from asr.text.lexicon import Lexicon


def prepare(
    cfg: Config, heard: Annotated[str, "half: train on the sentences of every second speaker; all: on all"] = "half"
) -> str:
    """Write the sentences, which are dev set and test set too, and the lexicon of their words in `cfg.data.dir`."""
    if heard not in ("half", "all"):
        raise InputError(f"heard={heard} must be half or all")
    folder = corpora.find("timit_en", cfg.data.root)
    if folder is None:
        raise InputError("no corpus timit_en: set data.root to a folder that holds timit_en/manifest.jsonl")
    read = manifest.read(folder / "manifest.jsonl")
    speakers = sorted({str(u.speaker) for u in read})[:: 2 if heard == "half" else 1]
    said = {u.id: " ".join(word for _, _, word in u.extra["words"]) for u in read}
    chosen = [replace(u, text=said[u.id], extra={}) for u in read if u.speaker in speakers]
    for path in (cfg.data.train, cfg.data.dev, cfg.data.test):
        manifest.write(path, chosen)
    words = sorted({word for text in said.values() for word in text.split()})
    Lexicon.cmudict(words, guesser(G2pConfig())).write(Path(cfg.data.dir) / "lexicon.txt")
    return f"real speech: {folder}, {len(speakers)} speakers"


def build(recipe: Recipe) -> None:
    """The HMMs; what they find is measured by benchmarks/align.py."""
    recipe("hmm train")
