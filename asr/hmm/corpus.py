"""The utterances that HMMs are trained on: features, words, and their pronunciations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data.augment import change_speed, change_tempo
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features.frontend import FrontEnd
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon

MOST = 1e5  # of stored features: the squares of larger ones lose the digits that tell Gaussians apart
Read = tuple[Utterance, list[str], Tensor]  # an utterance with its words and its input


@dataclass(frozen=True)
class Corpus:
    """N utterances with F frames in all. `own`: the first so many are those of data.train, the others of data.dev.
    `copies`: the last so many of the own ones are others of them at another speed."""

    ids: list[str]
    words: list[list[str]]
    first: np.ndarray  # (N + 1,) first frame of each utterance, then F
    features: Tensor  # (F, D) float32
    own: int
    speakers: list[str | None]
    copies: int = 0

    def with_features(self, parts: Iterable[Tensor]) -> "Corpus":
        """The corpus with other features (f, D') of each utterance."""
        return replace(self, features=torch.cat([*parts]))

    @property
    def trained(self) -> Tensor:
        """The features (F', D) of data.train."""
        return self.features[: self.first[self.own]]

    @property
    def recorded(self) -> list[int]:
        """The numbers of all utterances but copies."""
        return [*range(self.own - self.copies), *range(self.own, len(self.ids))]

    def frames(self, number: int) -> Tensor:
        """The features (f, D) of an utterance."""
        return self.features[self.first[number] : self.first[number + 1]]


def load(cfg: Config, frontend: FrontEnd, lexicon: Lexicon, aside: dict[str, str]) -> Corpus:
    """The utterances of data.train and data.dev; `aside` gets the reason for each that cannot be used.

    The training utterances are also there at each of the other `hmm.speeds`. Normalisation over the corpus is fitted to
    data.train, and only its phones are known. Raises InputError if that has no usable utterance, or if an id stands for
    two utterances.
    """
    listed = {split: manifest.read(getattr(cfg.data, split)) for split in ("train", "dev")}
    _check_ids(cfg, listed["train"], listed["dev"])
    found: dict[str, list[Read]] = {}
    phones: set[str] | None = None
    for split, utterances in listed.items():
        bar = tqdm(utterances, split, delay=2, leave=False)
        found[split] = [u for u in (_read(cfg, u, lexicon, phones, aside) for u in bar) if u]
        if not found["train"]:
            id, why = next(iter(aside.items()))
            raise InputError(f"{cfg.data.train}: no utterance can be used; '{id}': {why}; see `asr data check`")
        phones = phones or {*phones_of([words for _, words, _ in found["train"]], lexicon)}
    if cfg.features.cmvn in ("global", "causal"):
        for _, _, x in found["train"]:
            frontend.accumulate_stats(x[None], torch.tensor([len(x)]))
    copies = [at_speed(cfg, one, speed) for speed in cfg.hmm.speeds if speed != 1.0 for one in found["train"]]
    read = found["train"] + copies + found["dev"]
    features = [frontend(x[None], torch.tensor([len(x)]))[0][0] for _, _, x in read]
    first = np.cumsum([0, *map(len, features)])
    return Corpus([u.id for u, _, _ in read], [words for _, words, _ in read], first, torch.cat(features),
                  len(found["train"]) + len(copies), [u.speaker for u, _, _ in read], len(copies))  # fmt: skip


def at_speed(cfg: Config, one: Read, speed: float) -> Read:
    """The utterance `speed` times as fast. Who says it counts as another speaker, since pitch and formants change."""
    utterance, words, x = one
    speaker = None if utterance.speaker is None else f"{utterance.speaker}, {speed:g} times as fast"
    change = change_tempo if cfg.features.kind == "stored" else change_speed
    return replace(utterance, speaker=speaker), words, torch.from_numpy(change(x.numpy(), speed))


def _check_ids(cfg: Config, train: Sequence[Utterance], dev: Sequence[Utterance]) -> None:
    """Raises InputError if an id is that of different utterances: alignments are kept by id."""
    own = {utterance.id: utterance for utterance in train}
    for utterance in dev:
        if own.get(utterance.id, utterance) != utterance:
            raise InputError(f"'{utterance.id}' is an utterance of {cfg.data.train} and another one of "
                             f"{cfg.data.dev}, but alignments are kept by id; rename one of them")  # fmt: skip


def _read(
    cfg: Config, utterance: Utterance, lexicon: Lexicon, phones: set[str] | None, aside: dict[str, str]
) -> Read | None:
    """The utterance with its words and its input; None, with a reason in `aside`, if it cannot be used. `phones`: the
    known ones, None for all."""
    try:
        if (utterance.duration_s or 0.0) > cfg.data.max_audio_s:
            raise InputError(f"{utterance.duration_s:.1f} s is longer than data.max_audio_s={cfg.data.max_audio_s:g}")
        words = utterance.transcript.split()
        if missing := [word for word in words if word not in lexicon]:
            raise InputError(f"not in the lexicon: {', '.join(missing)}")
        if phones is not None and (unseen := [p for p in phones_of([words], lexicon) if p not in phones]):
            raise InputError(f"no training utterance has its phone {', '.join(unseen)}")
        x = load_input(cfg, utterance)
        if cfg.features.kind == "stored" and x.size and np.abs(x).max() > MOST:
            raise InputError(f"its features reach {np.abs(x).max():.3g}, which no sound has; make them again")
        return utterance, words, torch.from_numpy(x)
    except InputError as e:
        aside[utterance.id] = str(e)
        return None


def phones_of(words: Sequence[Sequence[str]], lexicon: Lexicon) -> list[str]:
    """The phones of all pronunciations of the words, sorted."""
    spoken = {word for text in words for word in text}
    return sorted({unit for word in spoken for units in lexicon.pronunciations[word] for unit in units})
