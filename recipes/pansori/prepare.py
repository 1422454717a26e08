"""Pansori-TEDxKR: Korean TEDx talks with music and applause, 96 minutes to train on.

The corpus (openslr.org/58, CC BY-NC-ND 4.0) is found speech. Some of its transcripts are wrong.
"""

import lzma
from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.files import atomic_write
from asr.text.clean import clean
from recipes.encoders import fetch_whisper_base


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl` (the corpus's own splits, speakers disjoint) and `lm.txt` in `cfg.data.dir`.

    The LM text is the training text and, if it is found, the written Korean in the folder `text_ko`.
    """
    if cfg.features.kind == "pretrained":
        fetch_whisper_base()
    out, root = Path(cfg.data.dir), cfg.data.root
    corpus = corpora.find("pansori", root)
    if corpus is None:
        raise InputError(
            "no folder 'pansori' with a manifest.jsonl; get the corpus from openslr.org/58, make its manifest with "
            "`asr data import`, and name the folder above it with data.root=..."
        )
    utterances = [replace(u, text=clean(u.transcript, "ko")) for u in manifest.read(corpus / "manifest.jsonl")]
    for split in ("train", "dev", "test"):
        manifest.write(out / f"{split}.jsonl", [u for u in utterances if u.extra["split"] == split])
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript + "\n" for u in utterances if u.extra["split"] == "train")
        for path in sorted((corpora.find("text_ko", root) or Path("nowhere")).glob("*.txt.xz")):
            with lzma.open(path, "rt", encoding="utf-8") as lines:
                file.writelines(clean(line, "ko") + "\n" for line in lines)
    return f"real speech: Pansori-TEDxKR in {corpus}"
