"""Echo: impulse responses of rooms, drawn and simulated, or read from files.

A simulated response is made of two parts. The first `EARLY_S` hold the direct sound and the reflections of a shoebox
room by the image method (Allen & Berkley 1979, "Image method for efficiently simulating small-room acoustics"). Behind
them stands the diffuse field: Gaussian noise whose power is that of the images on average and decays by 60 dB within
the reverberation time (Polack 1988). Images alone would take a hundred times as long. All images being positive, their
sum is too loud at the lowest frequencies, which a high-pass filter removes, as in that article.

Times are counted from the arrival of the direct sound, so that words stay where they are.
"""

from collections.abc import Sequence

import numpy as np

from asr.data.scenes.sounds import Sounds
from asr.data.scenes.spectra import at_level, fft_size, filtered, rms

SOUND_M_S = 343.0  # metres per second
EARLY_S = 0.05
SMALLEST_M, LARGEST_M = (3.0, 2.5, 2.3), (9.0, 7.0, 3.6)  # rooms that are drawn
FROM_WALL_M = 0.4  # of the speaker and the microphone
LOW_HZ = 100.0  # of the high-pass filter
SINC = 20  # samples on each side of the pulse of an image (Peterson 1986)


def draw_room(rt60_s: Sequence[float], rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """The response (T,) of a room of drawn size, with a speaker, a microphone and a reverberation time drawn from
    `rt60_s`."""
    size = rng.uniform(SMALLEST_M, LARGEST_M)
    source, microphone = rng.uniform(FROM_WALL_M, size - FROM_WALL_M, (2, 3))
    return response(size, source, microphone, rng.uniform(rt60_s[0], rt60_s[-1]), rate_hz, rng)


def response(
    size: np.ndarray,
    source: np.ndarray,
    microphone: np.ndarray,
    rt60_s: float,
    rate_hz: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The response (T,) float32 of a room `size` (3,) in metres at a microphone (3,) to a source (3,).

    The direct sound is 1 at sample 0. The reverberation time in seconds and the size give the absorption of the walls
    by Eyring's formula (1930).
    """
    volume = float(np.prod(size))
    surface = 2 * volume * float((1 / size).sum())
    reflection = np.exp(-12 * np.log(10) * volume / (SOUND_M_S * surface * rt60_s))  # of the amplitude, at each wall
    direct_m = max(0.1, float(np.linalg.norm(source - microphone)))
    distances, factors = images(size, source, microphone, reflection, direct_m + EARLY_S * SOUND_M_S)
    early, samples = round(EARLY_S * rate_hz), max(1, round(rt60_s * rate_hz))
    times = (distances - distances[0]) / SOUND_M_S * rate_hz  # (K,) in samples
    found = np.zeros(max(samples, early + SINC + 1))
    _add_pulses(found, times, factors * direct_m / np.maximum(distances, direct_m))
    late_s = direct_m / SOUND_M_S + np.arange(early, samples) / rate_hz
    density = 4 * np.pi * SOUND_M_S * direct_m**2 / volume / rate_hz  # of the images' power per sample
    found[early:samples] += np.sqrt(density) * 10 ** (-3 * late_s / rt60_s) * rng.standard_normal(len(late_s))
    found = filtered(found, rate_hz, lambda hz: 1j * hz / (1j * hz + LOW_HZ))
    return found / found[0]


def images(
    size: np.ndarray, source: np.ndarray, microphone: np.ndarray, reflection: float, until_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mirror images (K,) of a source that are less than `until_m` from the microphone: distance in metres, and the
    share of the amplitude that its reflections leave. The first is the source itself."""
    squares, bounces = [], []
    for axis in range(3):
        rooms = np.arange(-(most := int(until_m / size[axis] / 2) + 1), most + 1)
        same, mirrored = 2 * rooms * size[axis] + source[axis], 2 * rooms * size[axis] - source[axis]
        squares.append(np.square(np.concatenate([same, mirrored]) - microphone[axis]))  # (2 R,)
        bounces.append(np.concatenate([np.abs(2 * rooms), np.abs(2 * rooms - 1)]))
    distances = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    count = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    near = distances < until_m
    order = np.argsort(distances[near], kind="stable")
    return distances[near][order], reflection ** count[near][order]


def _add_pulses(response: np.ndarray, times: np.ndarray, factors: np.ndarray) -> None:
    """Adds band-limited pulses at `times` (K,) in samples, between samples too."""
    offsets = np.arange(-SINC, SINC + 1)
    middle = np.round(times).astype(np.int64)
    at = middle[:, None] + offsets  # (K, 2 SINC + 1)
    away = at - times[:, None]
    pulses = factors[:, None] * np.sinc(away) * (0.5 + 0.5 * np.cos(np.pi * away / (SINC + 1)))
    inside = (at >= 0) & (at < len(response))
    np.add.at(response, at[inside], pulses[inside])


class RecordedRooms:
    """Measured impulse responses, of a folder or a manifest."""

    def __init__(self, place: str, rate_hz: float):
        self.sounds = Sounds(place, "augment.room_files", rate_hz)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A response (T,) from the direct sound on, which is 1. Raises InputError for a silent one."""
        x = self.sounds.draw(rng)
        direct = int(np.abs(x).argmax())
        return x[direct:] / x[direct] if x[direct] else np.ones(1, np.float32)


def reverberate(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples (T,) heard in a room, at the same level; what sounds on behind the end is cut off."""
    size = fft_size(len(x) + len(response) - 1)
    found = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)]
    return at_level(found, rms(x))
