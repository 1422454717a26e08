"""Draws docs/concepts/augmentation/: a picture and a sound for each kind of augmentation.

python docs/augmentation.py [CORPORA]

CORPORA is the folder with fsdd (default: $ASR_DATA), the Free Spoken Digit Dataset, which is CC BY-SA 4.0.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from PIL import Image

from asr.augment_options import AugmentConfig
from asr.config import FeaturesConfig
from asr.data import corpora
from asr.data.augment import add_silence, change_level, change_speed, generator, mask_features, noise, warp_bins
from asr.data.scenes import codecs, devices, rooms
from asr.data.scenes.scene import Scene
from asr.data.scenes.spectra import rms
from asr.features import audio
from asr.features.frontend import FrontEnd

HERE = Path(__file__).parent / "concepts/augmentation"
RATE_HZ, WINDOW, SHIFT = 8000, 256, 64
SPOKEN, OTHERS = ("7_lucas_3", "3_lucas_5"), ("1_theo_7", "8_jackson_7", "5_george_7", "2_nicolas_7")
RANGE_DB, COLOURS = 70.0, 16


def spectrogram(x: np.ndarray) -> np.ndarray:
    """Samples (T,) -> levels (bins, frames) from 0 to 1, the highest frequency first."""
    frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::SHIFT] * np.hanning(WINDOW)
    level_db = 20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-6).T[::-1]
    return ((level_db - 20) / RANGE_DB + 1).clip(0, 1)


def draw(levels: np.ndarray, name: str) -> None:
    """A PNG of 16 colours, two pixels for each value."""
    picture = Image.fromarray(np.kron((levels * (COLOURS - 1)).round().astype(np.uint8), np.ones((2, 2), np.uint8)))
    picture = picture.convert("P")
    shades = colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3]
    picture.putpalette((255 * shades).astype(np.uint8).tobytes())
    picture.save(HERE / f"{name}.png", bits=4, optimize=True)


def scenes(x: np.ndarray, voices: list[np.ndarray]) -> dict[str, np.ndarray]:
    """A changed utterance for each kind that changes samples."""

    def with_noise(kind: str) -> np.ndarray:
        cfg = AugmentConfig(noise_share=1.0, noises=[kind], noise_db=[5.0, 5.0])
        return Scene(cfg, RATE_HZ, lambda rng: voices[rng.integers(len(voices))]).change(x, rms(x), generator(5))

    return {
        "original": x,
        "speed": change_speed(x, 1.1),
        "silence": add_silence(x, 4000, lambda at: len(x) // 2, lambda n: noise(n, x, generator(1)), generator(9)),
        "level": change_level(x, (12, 12), RATE_HZ, generator(2)),
        "room": rooms.reverberate(x, rooms.draw_room([0.6], RATE_HZ, generator(4))),
        "coloured": with_noise("coloured"),
        "babble": with_noise("babble"),
        "hum": with_noise("hum"),
        "microphone": devices.another_microphone(x, RATE_HZ, [12.0], generator(4)),
        "clip": devices.clip(x, [15.0], generator(1)),
        "band": devices.limit_band(x, RATE_HZ, [300.0, 3400.0], generator(1)),
        **{name: codecs.through(x, RATE_HZ, name) for name in ("mulaw", "gsm", "opus", "mp3")},
    }


def main(root: str | None) -> None:
    folder = corpora.find("fsdd", root)
    if folder is None:
        raise SystemExit("fsdd is not at hand; name the folder that holds it")
    paths = {path.stem: path for path in folder.rglob("*_*_*.*")}
    speech = {name: audio.load(paths[name], sample_rate_hz=RATE_HZ) for name in (*SPOKEN, *OTHERS)}
    gap = np.zeros(400, np.float32)
    x = np.concatenate([gap, speech[SPOKEN[0]], gap, speech[SPOKEN[1]], gap])
    x *= 0.5 / np.abs(x).max()
    HERE.mkdir(exist_ok=True)
    for name, y in scenes(x, [speech[name] for name in OTHERS]).items():
        draw(spectrogram(y), name)
        codec = name if name in ("mulaw", "mp3") else "opus"
        data, _ = codecs.encode(y, RATE_HZ, codec)
        if name == "gsm":
            soundfile.write(HERE / "gsm.flac", y, RATE_HZ)
        else:
            (HERE / f"{name}.{ {'mulaw': 'wav', 'mp3': 'mp3', 'opus': 'ogg'}[codec] }").write_bytes(data)
    frontend = FrontEnd(FeaturesConfig(sample_rate_hz=RATE_HZ, num_bins=64, high_hz=3800, shift_ms=8.0))
    bands, lengths = frontend(torch.from_numpy(x)[None], torch.tensor([len(x)]))  # (1, F, D)
    masked = mask_features(bands, lengths, replace(AugmentConfig(), freq_width=12), 0.008, generator(3))
    for name, y in {"masks": masked, "warp": warp_bins(bands, 0.2, generator(2))}.items():
        shown = y[0].T.flip(0).numpy() / 6 + 0.5
        draw(np.repeat(shown.clip(0, 1), 2, 0), name)
    print(f"{HERE}: {sum(path.stat().st_size for path in HERE.iterdir()) // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
