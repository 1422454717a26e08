"""The training text as word ids, and its batches: of sentences of similar length, in an order drawn for each epoch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from asr.lm.corpus import Selection, encode_files
from asr.lm.model import Vocabulary
from asr.lm.neural.net import END_ID, UNKNOWN_ID
from asr.lm.texts import sentences
from asr.pieces import spread
from asr.words import END, MARKS, UNKNOWN

LONGEST = 128  # words; longer sentences are trained on in parts
_POOL = 100  # batches whose sentences are sorted by length together
Batch = tuple[Tensor, Tensor, Tensor]  # words before (N, T), words to predict (N, T), whether there is one (N, T)


@dataclass(frozen=True)
class Corpus:
    """Sentences as ids, one after the other, each followed by `</s>`."""

    ids: np.ndarray  # (W,) int32
    starts: np.ndarray  # (S + 1,) int64: sentence s is ids[starts[s] : starts[s + 1]]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, chosen: np.ndarray) -> "Corpus":
        """The sentences with these numbers."""
        parts = [self.ids[self.starts[s] : self.starts[s + 1]] for s in chosen]
        lengths = [len(part) for part in parts]
        return Corpus(np.concatenate([*parts, np.zeros(0, np.int32)]), np.append(0, np.cumsum(lengths, dtype=np.int64)))

    def in_parts(self) -> "Corpus":
        """Sentences of at most `LONGEST`; where one is cut, its last part alone ends with `</s>`."""
        lengths = np.diff(self.starts)
        cuts = [self.starts[s] + np.arange(LONGEST, lengths[s], LONGEST) for s in np.flatnonzero(lengths > LONGEST)]
        return Corpus(self.ids, np.sort(np.concatenate([self.starts, *cuts])))

    def batch(self, chosen: np.ndarray) -> Batch:
        """The sentences with these numbers, behind `</s>`, or behind the word before a part."""
        begins, lengths = self.starts[chosen], np.diff(self.starts)[chosen]
        places = begins[:, None] + np.arange(lengths.max())  # (N, T)
        is_word = places < (begins + lengths)[:, None]
        following = self.ids[np.where(is_word, places, 0)].astype(np.int64)
        first = np.where(begins > 0, self.ids[begins - 1], END_ID)  # ends the sentence before, if it is not a part
        before = np.concatenate([first[:, None], following[:, :-1]], 1)
        return torch.from_numpy(before), torch.from_numpy(following), torch.from_numpy(is_word)


def read_corpus(
    paths: Sequence[str], selection: Selection, memory_mb: int, folder: str, unit: str
) -> tuple[Corpus, Vocabulary, int]:
    """The sentences of files, the vocabulary, the most frequent words first, and the number of different words that are
    not in it. Raises InputError as `encode_files` does."""
    listed = [END, UNKNOWN]
    listed += (word for word in encode_files(paths, selection, memory_mb, folder, unit).words if word not in MARKS)
    texts, unknown = sentences(paths), set[str]()
    corpus = encode(Vocabulary(listed), map(spread, texts) if unit == "char" else texts, unknown)
    counts = np.bincount(corpus.ids, minlength=len(listed))
    counts[[END_ID, UNKNOWN_ID]] = np.iinfo(np.int64).max
    order = np.argsort(-counts, kind="stable")
    new: np.ndarray = np.empty(len(order), np.int32)
    new[order] = np.arange(len(order))
    return Corpus(new[corpus.ids], corpus.starts), Vocabulary([listed[at] for at in order]), len(unknown)


def encode(vocabulary: Vocabulary, texts: Iterable[str], unknown: set[str] | None = None) -> Corpus:
    """Texts without words are left out. Words outside the vocabulary become `<unk>`, and are put in `unknown`."""
    ids_of = known(vocabulary)
    lengths: list[int] = []

    def ended() -> Iterator[list[int]]:
        for text in texts:
            if words := vocabulary.words_in(text):
                ids = [ids_of.get(word, UNKNOWN_ID) for word in words]
                if unknown is not None and UNKNOWN_ID in ids:
                    unknown.update(word for word, id in zip(words, ids, strict=True) if id == UNKNOWN_ID)
                lengths.append(len(ids) + 1)
                yield [*ids, END_ID]

    ids = np.fromiter(chain.from_iterable(ended()), np.int32)
    return Corpus(ids, np.append(0, np.cumsum(lengths, dtype=np.int64)))


def known(vocabulary: Vocabulary) -> dict[str, int]:
    """The ids of the words that a text may have: a mark in a text is an unknown word."""
    return {word: id for word, id in vocabulary.ids.items() if word not in MARKS}


def batches(corpus: Corpus, num_words: int, seed: int, skipped: int = 0) -> Iterator[Batch]:
    """Batches of about `num_words`, padding included, without end; the first `skipped` are left out.

    They depend on the corpus, `num_words` and `seed` alone.
    """
    lengths = np.diff(corpus.starts)
    epoch = 0
    while True:
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(corpus))
        per_pool = max(1, round(_POOL * num_words / max(lengths.mean(), 1.0)))
        pools = [order[at : at + per_pool] for at in range(0, len(order), per_pool)]
        chosen = [part for pool in pools for part in _filled(pool[np.argsort(lengths[pool])], lengths, num_words)]
        random.shuffle(chosen)  # type: ignore[arg-type]
        yield from (corpus.batch(part) for part in chosen[skipped:])
        skipped = max(0, skipped - len(chosen))
        epoch += 1


def _filled(ordered: np.ndarray, lengths: np.ndarray, num_words: int) -> Iterator[np.ndarray]:
    """Runs of sentences, sorted by length, that hold `num_words` with padding, or a single longer sentence."""
    start = 0
    sizes = lengths[ordered].tolist()
    for end in range(1, len(sizes) + 1):
        if end == len(sizes) or sizes[end] * (end + 1 - start) > num_words:
            yield ordered[start:end]
            start = end
