"""The front end of stored features: recorded with them, kept by the training, restored in a bundle.

A net trained on stored features cannot take sound by itself. If the front end that made the features is known, it is
put in front of the trained net, which then transcribes recordings.
"""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.frontend import ENERGIES, FrontEnd
from asr.files import atomic_write
from asr.literals import parse_json


def record(features: FeaturesConfig, path: Path) -> None:
    """Write the front end that makes the stored features. Derivatives and normalisation are left to the training.

    Raises InputError if `path` records another front end.
    """
    text = json.dumps(dataclasses.asdict(stored_part(features)), indent=2)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{path.parent} holds features of another configuration; remove it or choose another output")
    with atomic_write(path) as file:
        file.write(text)


def stored_part(features: FeaturesConfig) -> FeaturesConfig:
    """The options that shape stored features: all but derivatives and normalisation."""
    return replace(features, deltas=0, cmvn="none")


def read(path: Path) -> FeaturesConfig | None:
    """The recorded front end; None if there is no record. Raises InputError for a damaged one."""
    if not path.exists():
        return None
    try:
        return FeaturesConfig(**parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise InputError(f"{path} does not record a front end ({e!r}); make the features again") from e


def behind(recorded: FeaturesConfig, trained: FeaturesConfig) -> FeaturesConfig:
    """The features of a net trained on stored ones, computed from sound.

    Raises InputError if the recorded front end makes features of another dimension, or such as the training did not
    take them for.
    """
    if trained.cmvn == "speech" and recorded.kind not in ENERGIES:
        raise InputError(
            f"features.cmvn=speech takes stored features for log filterbank energies, but these are {recorded.kind}; "
            "set features.cmvn=utterance"
        )
    if (dim := FrontEnd(recorded).static_dim) != trained.num_bins:
        raise InputError(
            f"the recorded front end makes {dim} values per frame, the net was trained on {trained.num_bins}; "
            "train again on features of one front end"
        )
    return replace(recorded, deltas=trained.deltas, cmvn=trained.cmvn)
