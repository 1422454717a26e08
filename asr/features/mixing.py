"""Many channels -> one: their mean, or a chosen one; channels that cancel each other are refused."""

import numpy as np

from asr.errors import InputError

# In power, relative to the mean of channels that have nothing in common. Of two channels this is a correlation of -0.9.
CANCELLED = 0.1
PIECE = 16384  # samples that are judged together
MOST_CANCELLED = 0.2  # share of the pieces with sound
SILENT = 1e-7  # power (-70 dB of full scale) below which there is nothing to cancel


class Mixer:
    """Mixes the blocks of one recording. `channel` counts from 0; None: the mean of all."""

    def __init__(self, name: str, channels: int, channel: int | None = None):
        """Raises InputError if there is no such channel."""
        if channel is not None and not 0 <= channel < channels:
            has = "one channel: 0" if channels == 1 else f"{channels} channels: 0 to {channels - 1}"
            raise InputError(f"{name} has no channel {channel}; it has {has}")
        self.name, self.channel = name, channel
        self.frames = 0
        self.sums = np.zeros(channels + 1)  # of the channels and of their mean
        self.squares = np.zeros(channels + 1)
        self.loud = self.cancelled = 0  # pieces with sound, and those of them whose channels cancel each other

    def mix(self, block: np.ndarray) -> np.ndarray:
        """(n, C) -> (n,)."""
        if block.shape[1] == 1:
            return block[:, 0]
        if self.channel is not None:
            return np.ascontiguousarray(block[:, self.channel])
        mean = block.mean(axis=1)
        for start in range(0, len(block), PIECE):
            piece = [x[start : start + PIECE] for x in (*block.T, mean)]
            sums = np.array([x.sum(dtype=np.float64) for x in piece])
            squares = np.array([np.dot(x, x) for x in piece], np.float64)
            power = squares / len(piece[0]) - (sums / len(piece[0])) ** 2
            self.loud += power[:-1].mean() > SILENT
            self.cancelled += _cancel(power)
            self.sums += sums
            self.squares += squares
        self.frames += len(block)
        return mean

    def _power(self) -> np.ndarray:
        """Of the channels and of their mean, without a constant offset: (C + 1,)."""
        return self.squares / self.frames - (self.sums / self.frames) ** 2

    def silent_channels(self) -> list[int]:
        """The silent ones of mixed channels; none if all are."""
        power = self._power()[:-1] if self.frames else np.zeros(0)
        return [int(n) for n in np.nonzero(power < SILENT)[0]] if (power > 10 * SILENT).any() else []

    def check(self) -> None:
        """Raises InputError if the channels mixed so far cancel each other, as those of opposite phase do."""
        if not self.frames:
            return
        power = self._power()
        if _cancel(power) or self.cancelled > MOST_CANCELLED * self.loud:
            below_db = 10 * np.log10(power[:-1].mean() / max(power[-1], 1e-12))
            part = "" if _cancel(power) else f" in {self.cancelled / self.loud:.0%} of the time"
            raise InputError(
                f"the channels of {self.name} cancel each other{part} (opposite phase): their mean is {below_db:.0f} "
                "dB below them; choose one with channel=0"
            )


def _cancel(power: np.ndarray) -> bool:
    """Whether channels cancel each other; `power` (C + 1,) is that of the channels and of their mean."""
    mean = power[:-1].mean()
    return bool(mean > SILENT and power[-1] < CANCELLED * mean / (len(power) - 1))
