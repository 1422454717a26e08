"""The front end of stored features: recorded with them, kept by the training, restored in a bundle.

A net trained on stored features cannot take sound by itself. If the front end that made the features is known, it is
put in front of the trained net, which then transcribes recordings. A pretrained encoder is recorded with the digest of
its weights, since the net fits no other.
"""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.cmvn import OF_SPEECH
from asr.features.encoders import Encoder, full_name
from asr.features.frontend import FrontEnd
from asr.features.spectra import ENERGIES
from asr.files import atomic_write
from asr.literals import parse_json

ENCODER = "encoder.json"


def record(features: FeaturesConfig, path: Path) -> None:
    """Write the front end that makes the stored features. Derivatives and normalisation are left to the training.

    Raises InputError if `path` records another front end. An encoder may have moved: each file of features knows by
    content which one made it.
    """
    made, before = stored_part(features), read(path)
    if before and dataclasses.asdict(replace(before, encoder=made.encoder)) != dataclasses.asdict(made):
        raise InputError(f"{path.parent} holds features of another configuration; remove it or choose another output")
    with atomic_write(path) as file:
        json.dump(dataclasses.asdict(made), file, indent=2)


def stored_part(features: FeaturesConfig) -> FeaturesConfig:
    """The options that shape stored features: all but derivatives and normalisation, with the encoder's full name."""
    return replace(features, deltas=0, cmvn="none", encoder=full_name(features.encoder))


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
    if trained.cmvn in OF_SPEECH and recorded.kind not in ENERGIES:
        raise InputError(
            f"features.cmvn={trained.cmvn} takes stored features for log filterbank energies, but these are "
            f"{recorded.kind}; set features.cmvn=utterance"
        )
    if (dim := FrontEnd(recorded).static_dim) != trained.num_bins:
        raise InputError(
            f"the recorded front end makes {dim} values per frame, the net was trained on {trained.num_bins}; "
            "train again on features of one front end"
        )
    if recorded.sum_layers != trained.sum_layers:
        raise InputError(
            f"the stored features hold the layers {recorded.sum_layers} of an encoder, the net reads "
            f"{trained.sum_layers}; set features.sum_layers={str(recorded.sum_layers).replace(' ', '')}"
        )
    return replace(recorded, deltas=trained.deltas, cmvn=trained.cmvn)


def record_encoder(features: FeaturesConfig, encoder: Encoder, digest: str, path: Path) -> None:
    """Write which encoder made the stored features: its name, its licence, and size and digest of its weights."""
    facts = {"source": features.encoder, "licence": encoder.licence, "bytes": encoder.num_bytes, "sha256": digest}
    with atomic_write(path) as file:
        json.dump(facts, file, indent=1)


def check_encoder(encoder: Encoder, place: str | None, path: Path) -> None:
    """Raises InputError if the encoder, which was opened from `place`, is not the recorded one."""
    try:
        recorded = parse_json(path.read_text(encoding="utf-8"))
        source, sha256 = recorded["source"], recorded["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} does not record an encoder ({e!r}); train again in another folder") from e
    if encoder.digest() != sha256 and place not in (source, None):
        raise InputError(f"the encoder {place} has other weights than {source}, which {path.parent} was trained on; "
                         "name a copy of that with features.encoder=DIR")  # fmt: skip
    if encoder.digest() != sha256:
        raise InputError(
            f"the encoder {source} has changed since {path.parent} was trained; restore it, or train again"
        )
