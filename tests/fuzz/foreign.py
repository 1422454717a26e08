"""Other people's models as fuzz targets."""

from pathlib import Path

import torch
from nemo_writer import write

from asr.features.encoders import conformer
from asr.models.imported import read_model
from fuzz.registry import target

SIZES = conformer.Sizes(
    bands=80, halvings=3, channels=2, dim=4, heads=2, layers=1, hidden=8, kernel=3, separable=1, scaled=1, biased=0,
    normalised=1,
)  # fmt: skip


def _nemo(folder: Path) -> list[bytes]:
    tensors = {
        f"encoder.{name.replace('blocks.', 'layers.')}": x
        for name, x in conformer.Conformer(SIZES).state_dict().items()
    }
    tensors |= {
        "decoder.decoder_layers.0.weight": torch.zeros(3, 4, 1),
        "decoder.decoder_layers.0.bias": torch.zeros(3),
    }
    front = {"_target_": "x.AudioToMelSpectrogramPreprocessor", "window_size": 0.025, "features": 80}
    encoder = {
        "_target_": "x.ConformerEncoder", "feat_in": 80, "n_layers": 1, "d_model": 4, "subsampling": "dw_striding",
        "subsampling_factor": 8, "subsampling_conv_channels": 2, "ff_expansion_factor": 2, "n_heads": 2,
        "conv_kernel_size": 3, "use_bias": False,
    }  # fmt: skip
    config = {"target": "x.EncDecCTCModel", "preprocessor": front, "encoder": encoder,
              "decoder": {"vocabulary": ["a", "b"]}}  # fmt: skip
    return [write(folder / "m.nemo", config, tensors, mode=mode).read_bytes() for mode in ("w", "w:gz")]


@target("nemo", _nemo, suffix=".nemo")
def _read_nemo(path: Path) -> None:
    read_model(str(path)).model.score([torch.zeros(2000)])
