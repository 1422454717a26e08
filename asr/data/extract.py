"""Computing the features of a corpus once: a manifest of audio in, a manifest of `.npy` features out.

Stored features have neither deltas nor normalisation; training with features.kind=stored adds both as configured.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features import recorded
from asr.features.files import load_features
from asr.features.frontend import FrontEnd
from asr.files import atomic_write
from asr.manifest import Utterance

LONGEST_NAME = 230  # bytes; file systems allow 255, and the temporary file has a longer name


def extract(source: str | Path, output: str | Path, cfg: Config) -> Path:
    """Compute the features of the manifest `source` and write the manifest `output`; returns its path.

    The arrays are written to the folder named like `output` without its suffix. A second start continues where the
    first one stopped. Utterances without usable input are listed with the reason in `set_aside.tsv` in that folder.
    Raises InputError if the folder holds features of another configuration, or if no utterance is left.
    """
    output = Path(output)
    folder = output.with_suffix("")
    if folder == output:
        raise InputError(f"{output} has no suffix; name the manifest to write, such as {output}.jsonl")
    features = recorded.stored_part(cfg.features)
    recorded.record(features, record_path(output))
    cfg, frontend = replace(cfg, features=features), FrontEnd(features)
    done, set_aside = [], []
    with tqdm(manifest.read(source), unit="utt", desc="features") as bar:
        for utterance in bar:
            try:
                done.append(_extract_one(utterance, folder, cfg, frontend))
            except InputError as e:
                tqdm.write(f"utterance '{utterance.id}' set aside: {e}")
                set_aside.append((utterance.id, e))
    with atomic_write(folder / "set_aside.tsv") as file:
        file.writelines(f"{name}\t{reason}\n" for name, reason in set_aside)
    if not done:
        raise InputError(f"no utterance of {source} has usable input; {folder / 'set_aside.tsv'} gives the reasons")
    manifest.write(output, done)
    tqdm.write(
        f"{output}: {len(done)} utterances, {len(set_aside)} set aside; "
        f"train on it with features=stored features.num_bins={frontend.dim}"
    )
    return output


def record_path(output: str | Path) -> Path:
    """Where the front end behind the stored features of a manifest is recorded."""
    return Path(output).with_suffix("") / "config.json"


@torch.inference_mode()
def _extract_one(utterance: Utterance, folder: Path, cfg: Config, frontend: FrontEnd) -> Utterance:
    name = utterance.id.replace("%", "%25").replace("/", "%2F") + ".npy"
    if len(name.encode()) > LONGEST_NAME:
        raise InputError(f"the id gives a file name of more than {LONGEST_NAME} bytes; shorten it")
    path = folder / name
    if path.exists():
        frames = len(load_features(path))
    else:
        x = torch.from_numpy(load_input(cfg, utterance))[None]  # (1, T) or (1, F, D)
        features, _ = frontend(x, torch.tensor([x.shape[1]]))
        frames = features.shape[1]
        if not frames:
            raise InputError(f"the audio has {x.shape[1]} samples, less than one window of {frontend.window_samples}")
        with atomic_write(path, "wb") as file:
            np.save(file, features[0].numpy())
    duration_s = utterance.duration_s or frames * cfg.features.shift_ms / 1000
    return replace(utterance, audio=None, features=str(path), start_s=0.0, duration_s=duration_s, channel=None)
