"""wav2vec 2.0, HuBERT, WavLM, data2vec and wav2vec2-BERT as Hugging Face's `transformers` builds them (extra
`pretrained`): samples at 16 kHz -> 50 vectors per second.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import InputError, missing
from asr.features.cmvn import frame_mask
from asr.features.encoders.encoder import Encoder

RATE_HZ = 16000
KINDS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert")
SEPARABLE = ("wav2vec2", "hubert", "data2vec-audio")  # whose layers need nothing but frames and a mask
MEL_WINDOW, MEL_SHIFT = 400, 160  # samples; of wav2vec2-BERT
QUIET = 1e-7  # added to the variance of the samples
TRAINING_ONLY = "masked_spec_embed"  # replaces frames that training masks; not all models store it


class Wav2Vec2(Encoder):
    """samples (T,) -> (F, D): the output of `layer`; that of the last one is normalised where the original does so."""

    def __init__(self, config: dict[str, Any], preprocessor: dict[str, Any]):
        """`config`, `preprocessor`: the contents of config.json and preprocessor_config.json."""
        super().__init__()
        transformers = import_transformers()
        self.config, self.preprocessor = config, preprocessor
        parsed = transformers.AutoConfig.for_model(**config)
        self.model = transformers.AutoModel.from_config(parsed)
        self.dim, self.layers, self.rate_hz = (
            parsed.hidden_size,
            parsed.num_hidden_layers,
            preprocessor.get("sampling_rate", RATE_HZ),
        )
        if config["model_type"] == "wav2vec2-bert":
            self.extractor = transformers.SeamlessM4TFeatureExtractor(**preprocessor)
            self.steps = [(MEL_WINDOW, MEL_SHIFT, 0), (self.extractor.stride, self.extractor.stride, 0)]
        else:
            self.extractor = None
            self.steps = [
                (kernel, stride, 0) for kernel, stride in zip(parsed.conv_kernel, parsed.conv_stride, strict=True)
            ]
        if getattr(parsed, "add_adapter", False):  # convolutions behind the last layer
            padding = 1 if self.extractor is None else parsed.adapter_stride // 2
            self.dim = parsed.output_hidden_size
            self.steps += [(parsed.adapter_kernel_size, parsed.adapter_stride, padding)] * parsed.num_adapter_layers
        receptive, self.shift_samples = 1, 1
        for kernel, stride, _ in self.steps:
            receptive += (kernel - 1) * self.shift_samples
            self.shift_samples *= stride
        self.spare_samples = max(0, receptive - self.shift_samples)

    def description(self) -> dict[str, Any]:
        return {"family": "wav2vec2", "config": self.config, "preprocessor": self.preprocessor}

    def num_frames(self, samples: int) -> int:
        for kernel, stride, padding in self.steps:
            if samples:
                samples = max(0, (samples + 2 * padding - kernel) // stride + 1)
        return samples

    def prepare(self, x: Tensor) -> Tensor:
        """Zero mean and unit variance, if the model was trained so."""
        if self.extractor is not None or not self.preprocessor.get("do_normalize", True):
            return x
        return (x - x.mean()) / (x.var(correction=0) + QUIET).sqrt()

    def encode_window(self, x: Tensor, *layers: int) -> Tensor:
        """As in `Encoder`; behind an adapter there is only the last layer."""
        if self.extractor is None:
            inputs = {"input_values": x[None]}
        else:
            made = self.extractor(x.cpu().numpy(), sampling_rate=self.rate_hz, return_tensors="pt", padding=False)
            inputs = {"input_features": made["input_features"].to(x.device)}
        outputs = self.model(**inputs, output_hidden_states=True)
        found = [*outputs.hidden_states[: self.layers], outputs.last_hidden_state]
        return torch.cat([found[layer][0] for layer in layers], 1)

    def part(self, layer: int, count: int) -> "Upper":
        if (kind := self.config["model_type"]) not in SEPARABLE or self.config.get("add_adapter"):
            raise InputError(
                f"single layers of this {kind} encoder cannot be trained; set model.tune_layers=0, or take an encoder "
                f"of the type whisper, {' or '.join(SEPARABLE)} that has no adapter"
            )
        encoder = self.model.encoder
        is_normalised = layer + count == self.layers and self.config.get("do_stable_layer_norm", False)
        return Upper(
            nn.ModuleList(encoder.layers[layer : layer + count]),
            encoder.layer_norm if is_normalised else nn.Identity(),
        )


class Upper(nn.Module):
    """The upper layers of an encoder: (N, F, D), lengths (N,) -> (N, F, D); padding is not heard."""

    def __init__(self, layers: nn.ModuleList, norm: nn.Module):
        super().__init__()
        self.layers, self.norm = layers, norm

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = frame_mask(lengths, x.shape[1])  # (N, F)
        bias = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, torch.finfo(x.dtype).min)[:, None, None]
        for layer in self.layers:
            x = layer(x, attention_mask=bias)
            x = x[0] if isinstance(x, tuple) else x  # before transformers 5
        return self.norm(x).masked_fill(~mask[:, :, None], 0.0)


def read(folder: Path, config: dict[str, Any], preprocessor: dict[str, Any]) -> Wav2Vec2:
    """The encoder of the model in `folder`, which may have a head.

    Raises InputError if its weights cannot be read or some are missing. Pickled weights are read by torch's
    weights-only loader.
    """
    encoder = Wav2Vec2(config, preprocessor)
    encoder.model = _load(type(encoder.model), folder)
    return encoder


def read_with_head(folder: Path, config: dict[str, Any], preprocessor: dict[str, Any]) -> tuple[Wav2Vec2, nn.Linear]:
    """The encoder and the CTC head of the model in `folder`. Raises InputError as `read` does."""
    transformers = import_transformers()
    with torch.device("meta"):
        encoder = Wav2Vec2(config, preprocessor)
        kind = type(transformers.AutoModelForCTC.from_config(encoder.model.config))
    whole = _load(kind, folder)
    encoder.model = whole.base_model
    return encoder, whole.lm_head


def _load(kind: type, folder: Path) -> Any:
    try:
        with _without_progress_bars():
            model, report = kind.from_pretrained(  # type: ignore[attr-defined]
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as e:
        raise InputError(f"{folder}: the weights cannot be read ({e}); copy or download the folder again") from e
    lacking = [name for name in report["missing_keys"] if not name.endswith(TRAINING_ONLY)]
    if lacking := sorted([*lacking, *(str(name[0]) for name in report["mismatched_keys"])]):
        raise InputError(f"{folder}: the weights lack {lacking[0]}, or have it in another shape; "
                         "name the folder of a model that has it")  # fmt: skip
    return model


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """transformers shows them for models of any size."""
    logging = importlib.import_module("transformers.utils.logging")
    were_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_shown:
            logging.enable_progress_bar()


def import_transformers() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise InputError(missing("pretrained", "this model", "transformers")) from None
