"""Speed and parity of the front end against torchaudio.compliance.kaldi and kaldi-native-fbank, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.features [--data ../shared/data] [--rounds 15]

Each round runs the three in turn on the same samples; a ratio is the median over rounds of paired CPU times, so that
other load on the machine has little effect. Parity is measured on real recordings, between each pair of the three and
against a FrontEnd in double precision.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import soundfile
import torch
import torchaudio.compliance.kaldi as kaldi

from asr.config import FeaturesConfig
from asr.features.frontend import FrontEnd
from asr.files import atomic_write

RESULT = Path(__file__).parent / "results" / "features.json"
CORPORA = ("yesno", "fsdd", "pansori", "korean_read", "prompts_en", "commands_en", "noise")
Compute = Callable[[torch.Tensor], torch.Tensor]  # (T,) in [-1, 1] -> (F, D)


def ours(cfg: FeaturesConfig) -> Compute:
    frontend = FrontEnd(cfg)
    return lambda x: frontend(x[None], torch.tensor([len(x)]))[0][0]


def torchaudio_peer(cfg: FeaturesConfig) -> Compute:
    options = dict(num_mel_bins=cfg.num_bins, sample_frequency=cfg.sample_rate_hz, dither=0.0)
    if cfg.kind == "mfcc":
        return lambda x: kaldi.mfcc(x[None] * 32768, num_ceps=cfg.num_ceps, **options)
    return lambda x: kaldi.fbank(x[None] * 32768, **options)


def native_peer(cfg: FeaturesConfig) -> Compute:
    options = knf.MfccOptions() if cfg.kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq = 0, cfg.sample_rate_hz
    options.mel_opts.num_bins = cfg.num_bins
    if cfg.kind == "mfcc":
        options.num_ceps, options.use_energy = cfg.num_ceps, False

    def compute(x: torch.Tensor) -> torch.Tensor:
        computer = knf.OnlineMfcc(options) if cfg.kind == "mfcc" else knf.OnlineFbank(options)
        computer.accept_waveform(cfg.sample_rate_hz, (x * 32768).numpy())
        computer.input_finished()
        return torch.from_numpy(np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)]))

    return compute


ALL = {"ours": ours, "torchaudio": torchaudio_peer, "kaldi-native-fbank": native_peer}


def speed(cfg: FeaturesConfig, duration_s: float, rounds: int) -> dict:
    x = 0.1 * torch.randn(int(duration_s * cfg.sample_rate_hz))
    computers = {name: make(cfg) for name, make in ALL.items()}
    times = {name: np.zeros(rounds) for name in computers}
    for compute in computers.values():
        compute(x)
    for i in range(rounds):
        for name, compute in computers.items():
            start = time.thread_time()
            compute(x)
            times[name][i] = time.thread_time() - start
    row: dict = {"kind": cfg.kind, "num_bins": cfg.num_bins, "duration_s": duration_s}
    for name in ALL:
        row[name] = {
            "times_real_time": round(duration_s / float(np.median(times[name]))),
            "ours_is_faster_by": round(float(np.median(times[name] / times["ours"])), 2),
        }
    return row


@torch.inference_mode()
def batch_speed(cfg: FeaturesConfig, rows: int, duration_s: float, rounds: int) -> dict:
    x, lengths = 0.1 * torch.randn(rows, int(duration_s * cfg.sample_rate_hz)), torch.zeros(rows, dtype=torch.int64)
    frontend, times = FrontEnd(cfg), []
    for _ in range(rounds):
        start = time.thread_time()
        frontend(x, lengths + x.shape[1])
        times.append(time.thread_time() - start)
    return {
        "kind": cfg.kind,
        "batch": rows,
        "duration_s": duration_s,
        "times_real_time": round(rows * duration_s / float(np.median(times))),
    }


@torch.inference_mode()
def parity(kind: str, num_bins: int, corpus: Path, files: int = 20, max_s: int = 10) -> dict:
    """The largest differences over the corpus, and the share of values that differ by at least 1e-3."""
    pairs = [("ours", name) for name in ALL if name != "ours"] + [("torchaudio", "kaldi-native-fbank")]
    pairs += [(name, "double") for name in ALL]
    found: dict[tuple[str, str], list[np.ndarray]] = {pair: [] for pair in pairs}
    paths = sorted(p for p in (corpus / "audio").rglob("*") if p.is_file())
    for path in paths[:: max(1, len(paths) // files)][:files]:
        rate_hz = soundfile.info(path).samplerate
        x = torch.from_numpy(soundfile.read(path, frames=max_s * rate_hz, dtype="float32")[0])
        cfg = FeaturesConfig(kind=kind, num_bins=num_bins, sample_rate_hz=rate_hz, cmvn="none")
        features = {name: make(cfg)(x) for name, make in ALL.items()}
        features["double"] = FrontEnd(cfg).double()(x[None].double(), torch.tensor([len(x)]))[0][0]
        for a, b in pairs:
            found[a, b].append((features[a].double() - features[b].double()).abs().flatten().numpy())
    row: dict = {"kind": kind, "num_bins": num_bins, "corpus": corpus.name}
    for (a, b), differences in found.items():
        values = np.concatenate(differences)
        row[f"{a} - {b}"] = {
            "max": float(f"{values.max():.2e}"),
            "share_over_1e-3": float(f"{np.mean(values >= 1e-3):.1e}"),
        }
    return row


def show(result: dict) -> None:
    print(f"{'kind':8}{'bins':>5}{'s':>5}" + "".join(f"{name + ' x RT':>26}{'ratio':>7}" for name in ALL))
    for row in result["speed"]:
        cells = "".join(f"{row[n]['times_real_time']:>26}{row[n]['ours_is_faster_by']:>7}" for n in ALL)
        print(f"{row['kind']:8}{row['num_bins']:>5}{row['duration_s']:>5.0f}{cells}")
    for row in result["batch"]:
        print(f"{row['kind']:8}batch {row['batch']} of {row['duration_s']:.0f} s: {row['times_real_time']} x RT")
    for row in result["parity"]:
        print(f"\n{row['kind']} {row['num_bins']} bins, {row['corpus']}")
        for pair, value in row.items():
            if isinstance(value, dict):
                print(f"  {pair:34} max {value['max']:.1e}   share over 1e-3 {value['share_over_1e-3']:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the corpora")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    configs = [
        FeaturesConfig(kind=kind, num_bins=bins, cmvn="none")
        for kind, bins in (("logmel", 80), ("mfcc", 80), ("mfcc", 23))
    ]
    result = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "speed": [speed(cfg, s, options.rounds) for cfg in configs for s in (3.0, 10.0, 60.0)],
        "batch": [batch_speed(cfg, 16, 10.0, options.rounds) for cfg in configs[:2]],
        "parity": [
            parity(kind, bins, options.data / corpus)
            for kind, bins in (("logmel", 80), ("mfcc", 23))
            for corpus in CORPORA
            if (options.data / corpus).exists()
        ],
    }
    show(result)
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)
    print(f"\nwritten to {RESULT}")


if __name__ == "__main__":
    main()
