"""English phones on hama's last hidden layer, beside those on Whisper's encoder: the same speech and language model.

hama (Apache-2.0) is small and frozen; an LSTM learns the CMU dictionary's phones from what it hears. The manifests are
those of the experiment `english`, which are prepared if they are not there.
"""

from pathlib import Path

import yaml

from asr.cli.recipe import Recipe
from asr.files import atomic_write
from recipes.english import prepare as english
from recipes.english_import.pronounce import FILES, fetch_hama

HIDDEN = "/acoustic_model/export_attn_layers.1/Add_4_output_0"  # 256 values, before the projection to 191 outputs

prepare = english.prepare


def build(recipe: Recipe) -> None:
    """The steps of `english`, with the encoder described first."""
    describe(fetch_hama())
    english.build(recipe)


def describe(hama: Path) -> Path:
    """Write which tensor of hama is the encoder's output; returns the path of the description."""
    path = hama / "encoder.yaml"
    description = {"model": FILES[0], "input": "waveform", "lengths": "waveform_lengths", "output": HIDDEN,
                   "shift_ms": 20, "licence": "Apache-2.0"}  # fmt: skip
    with atomic_write(path) as file:
        yaml.safe_dump(description, file, sort_keys=False)
    return path
