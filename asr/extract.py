"""Features computed once and stored: one Kaldi archive and a manifest that points into it."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.dataset import load_input
from asr.errors import InputError
from asr.features import FrontEnd
from asr.files import atomic_write
from asr.manifest import Utterance


def extract(cfg: Config, utterances: list[Utterance], path: Path) -> int:
    """Write `path` (a manifest) and beside it `path` with the ending .ark; returns the number of utterances written.

    Derivatives and normalisation are left to training, which sets them with features=stored. An utterance that
    cannot be read is named and left out. Raises InputError when none can be read.
    """
    if cfg.features.kind == "stored":
        raise InputError("features.kind=stored has nothing to compute; choose logmel, mfcc or loglinear")
    frontend = FrontEnd(replace(cfg.features, deltas=0, cmvn="none")).eval()
    ark = path.with_suffix(".ark")
    done = []
    with atomic_write(ark, "wb") as file, torch.inference_mode():
        for u in tqdm(utterances, desc="features", unit="utt"):
            try:
                x = torch.from_numpy(load_input(cfg, u))[None]  # (1, T)
                features = frontend(x, torch.tensor([x.shape[1]]))[0][0].numpy()  # (F, D)
            except InputError as e:
                tqdm.write(f"set aside utterance '{u.id}': {e}")
                continue
            file.write(f"{u.id} ".encode())
            done.append(replace(u, features=f"{ark}:{file.tell()}", audio=None, start_s=0.0))
            file.write(_kaldi_matrix(features))
        if not done:
            raise InputError(f"none of the {len(utterances)} utterances could be read; see the reasons above")
    manifest.write(path, done)
    print(f"{len(done)} of {len(utterances)} utterances, {features.shape[1]} values a frame -> {path}, {ark}")
    return len(done)


def _kaldi_matrix(x: np.ndarray) -> bytes:
    """(F, D) float32 in Kaldi's binary format: "\\0BFM ", then each size behind its number of bytes, then rows."""
    header = struct.pack("<5sbibi", b"\0BFM ", 4, x.shape[0], 4, x.shape[1])
    return header + np.ascontiguousarray(x, dtype="<f4").tobytes()
