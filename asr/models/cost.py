"""What a model costs: parameters, multiply-adds, time on one CPU thread, and the sound that a frame needs.

Multiply-adds are those of matrix products and convolutions as PyTorch runs them, in LSTMs and attention, too; Fourier
transforms and operations on single values are not counted. Those of attention over whole utterances grow with the
length: all figures are of `SECONDS` of sound.
"""

import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from asr.config import FeaturesConfig
from asr.models.acoustic import AcousticModel
from asr.threads import torch_threads

SECONDS = 10
ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    parameters: int  # of the net, with trained layers of the encoder
    encoder_parameters: int  # of the front end
    net_macs: float  # per second of sound
    front_end_macs: float
    real_time_factor: float  # CPU seconds per second of sound, front end and net, one thread
    latency_s: float  # from the beginning of a frame to its log-probs, apart from computing; infinite: whole utterance
    reads_s: float  # sound that a frame depends on, apart from the normalisation; infinite: no limit

    def table(self) -> str:
        """Lines for people."""
        front_end = f", front end {_millions(self.front_end_macs)}" if self.front_end_macs else ""
        encoder = f", encoder {self.encoder_parameters:,}" if self.encoder_parameters else ""
        rows = {
            "parameters": f"{self.parameters:,}{encoder}",
            "multiply-adds": f"{_millions(self.net_macs)} per second of sound{front_end}",
            "real-time factor": f"{self.real_time_factor:.4f} on one CPU thread, {SECONDS} s of sound",
            "latency": seconds(self.latency_s, "needs the whole utterance"),
            "a frame reads": seconds(self.reads_s, "the whole utterance, or all of its past"),
        }
        return "".join(f"{name:17} {value}\n" for name, value in rows.items())


def seconds(value: float, infinite: str) -> str:
    return infinite if math.isinf(value) else f"{1000 * value:,.0f} ms"


def _millions(macs: float) -> str:
    return f"{macs / 1e6:,.1f} M"


def measure(model: AcousticModel, cfg: FeaturesConfig) -> Cost:
    """The cost of a model whose front end is `cfg`; it is set to evaluation."""
    model.eval()
    x, lengths = example(model.frontend.kind, cfg)
    with torch.inference_mode():
        features, frames = model.frontend(x, lengths)
    front_end_macs = multiply_adds(lambda: model.frontend(x, lengths))
    net_macs = multiply_adds(lambda: model.classify(features, frames))
    encoder = count_parameters(model.frontend)
    return Cost(
        count_parameters(model) - encoder, encoder, net_macs / SECONDS, front_end_macs / SECONDS,
        seconds_of(lambda: model(x, lengths)) / SECONDS, latency_s(model, cfg), reads_s(model, cfg),
    )  # fmt: skip


def example(kind: str, cfg: FeaturesConfig) -> tuple[Tensor, Tensor]:
    """Noise for the front end: samples (1, T), or stored features (1, F, D0), and its length."""
    generator = torch.Generator().manual_seed(0)
    stored = kind == "stored"
    shape = (round(SECONDS * 1000 / cfg.shift_ms), cfg.num_bins) if stored else (SECONDS * cfg.sample_rate_hz,)
    return 0.1 * torch.randn(1, *shape, generator=generator), torch.tensor([shape[0]])


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(run: Callable[[], Any]) -> int:
    """Those of the matrix products and convolutions that `run` calls.

    PyTorch's counter sees LSTMs and attention only where they are run as matrix products: without oneDNN, which has one
    operation for a whole LSTM, and without fused attention.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TF32 on GPUs, when oneDNN is switched
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                run()
    return counter.get_total_flops() // 2


def seconds_of(run: Callable[[], Any]) -> float:
    """The median CPU time of a call on one thread: other load on the machine has little effect."""
    times = []
    with torch_threads(1), torch.inference_mode():
        run()
        for _ in range(ROUNDS):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    return statistics.median(times)


def latency_s(model: AcousticModel, cfg: FeaturesConfig) -> float:
    """Seconds from the beginning of an output frame to the last sample that its log-probs wait for, at most.

    These are the frames to come, its own group of `subsampling` frames, the end of the last one's window and the
    context of derivatives. Infinite if the net or the normalisation needs the whole utterance.
    """
    if not model.net.can_stream or not model.frontend.can_stream:
        return math.inf
    return (model.net.lookahead + 1) * model.frame_s + _beyond_s(model, cfg)


def reads_s(model: AcousticModel, cfg: FeaturesConfig) -> float:
    """Seconds of sound that the log-probs of a frame depend on, at most: the receptive field."""
    if model.frontend.kind == "pretrained" or not model.net.can_stream:
        return math.inf
    around = _context(model) * cfg.shift_ms / 1000
    return (model.net.before + 1 + model.net.lookahead) * model.frame_s + _beyond_s(model, cfg) + around


def _beyond_s(model: AcousticModel, cfg: FeaturesConfig) -> float:
    """By how much the window of a frame, and its derivatives, reach beyond the shift to the next frame."""
    window_ms = cfg.shift_ms if model.frontend.kind == "stored" else cfg.window_ms
    return (window_ms + (_context(model) - 1) * cfg.shift_ms) / 1000


def _context(model: AcousticModel) -> int:
    """Frames on each side that derivatives read."""
    return model.frontend.delta_kernels.shape[1] // 2
