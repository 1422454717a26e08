"""Trains a punctuation net on well-written text.

Consecutive lines count as consecutive sentences. The net learns from runs of one to eight lines; one run in four ends
at a random word, as utterances do when a speaker pauses within a sentence. A fiftieth of the text is kept out; the
offsets of the marks are chosen on it (asr.punctuation.balance).
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from asr.errors import InputError
from asr.punctuation.balance import offsets
from asr.punctuation.marks import CAPITALS, MARKS, NONE, UNKNOWN, Marked, case_of, read
from asr.punctuation.tagger import DILATIONS, Net, keys, pair_keys
from asr.textfiles import Lines

ROWS, WIDTH, HIDDEN, PAIRS = 1 << 15, 32, 128, 1 << 17
LONGEST_RUN = 128  # words
MOST_LINES = 8
CUT = 0.25  # runs that end within a sentence
BLOCK, KEPT_OUT = 2000, 50  # words; one block of so many is kept out of the training
BATCH = 16  # runs
LR, WARMUP = 3e-3, 0.05


@dataclass
class Corpus:
    """The words of a text."""

    keys: np.ndarray  # (different words, keys) uint32: see asr.punctuation.tagger.keys
    words: np.ndarray  # (W,) int32: their numbers
    marks: np.ndarray  # (W,) uint8
    cases: np.ndarray  # (W,) uint8
    ends: np.ndarray  # (lines,) int64: the number of words up to the end of each line
    has_cases: bool  # whether most words are in letters that have capitals


def corpus(paths: Sequence[str]) -> Corpus:
    """The words of texts with one sentence per line; raises InputError as `texts_of` does."""
    known: dict[str, int] = {}  # word -> its number
    numbers, marks, cases, ends = array("i"), bytearray(), bytearray(), array("q")
    for text in texts_of(paths, 1):
        for word, mark, case in text:
            numbers.append(known.setdefault(word, len(known)))
            marks.append(mark)
            cases.append(case)
        ends.append(len(numbers))
    have_cases = np.array([word.lower() != word.upper() for word in known])
    words = np.frombuffer(numbers, np.int32)
    return Corpus(
        np.array([keys(word) for word in known], np.uint32),
        words,
        np.frombuffer(marks, np.uint8),
        np.frombuffer(cases, np.uint8),
        np.frombuffer(ends, np.int64),
        bool(have_cases[words].mean() > 0.5),
    )


def texts_of(paths: Sequence[str], num_lines: int) -> Iterator[list[Marked]]:
    """The sentences of texts, `num_lines` lines at a time. Lines without a mark at their end, and headings in capitals,
    are left out.

    Raises InputError for a file that cannot be read, and if no line is left.
    """
    is_empty = True
    for path in paths:
        text: list[Marked] = []
        held = 0
        with Lines(path) as file:
            for _, line in file.decoded():
                if is_sentence(found := read(line)):
                    text, held, is_empty = text + found, held + 1, False
                if held == num_lines:
                    yield text
                    text, held = [], 0
        if text:
            yield text
    if is_empty:
        raise InputError(f"{', '.join(paths)}: no line ends in a punctuation mark; expected sentences as in books")


def is_sentence(found: Sequence[Marked]) -> bool:
    """Whether a line ends in a mark, and is not a heading in capitals."""
    return bool(found) and found[-1].mark != NONE and 2 * sum(case_of(w.word) == CAPITALS for w in found) <= len(found)


class Trained(torch.nn.Module):
    """The net of asr.punctuation.tagger, for training."""

    def __init__(self, has_cases: bool):
        super().__init__()
        self.table = torch.nn.Embedding(ROWS, WIDTH)
        torch.nn.init.normal_(self.table.weight, std=0.3)
        self.inner = torch.nn.Linear(WIDTH, HIDDEN)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3 * HIDDEN, HIDDEN) for _ in DILATIONS)
        self.out = torch.nn.Linear(HIDDEN, len(MARKS) + (3 if has_cases else 0))
        self.pairs = torch.nn.Embedding(PAIRS, self.out.out_features)
        torch.nn.init.zeros_(self.pairs.weight)

    def forward(self, keys: np.ndarray) -> torch.Tensor:
        """Keys (N, T, keys) of words, 0 beyond the end of a text -> scores (N, T, outputs)."""
        is_word = torch.from_numpy(keys.any(2))  # (N, T)
        rows = torch.from_numpy((keys % ROWS).astype(np.int64))
        pairs = torch.from_numpy((pair_keys(keys[:, :, 0]) % PAIRS).astype(np.int64))
        mask = is_word[..., None].float()  # (N, T, 1)
        h = F.relu(self.inner(self.table(rows).sum(2))) * mask  # (N, T, H)
        for dilation, layer in zip(DILATIONS, self.layers, strict=True):
            around = F.pad(h, (0, 0, dilation, dilation))
            near = torch.cat([around[:, : h.shape[1]], h, around[:, 2 * dilation :]], 2)  # (N, T, 3 H)
            h = (h + F.relu(layer(near))) * mask
        return self.out(h) + self.pairs(pairs).sum(2)

    def net(self) -> Net:
        def layer(linear: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
            assert isinstance(linear, torch.nn.Linear)
            return linear.weight.detach().T.numpy().copy(), linear.bias.detach().numpy().copy()

        table, pairs = (each.weight.detach().numpy().copy() for each in (self.table, self.pairs))
        return Net(table, pairs, layer(self.inner), tuple(map(layer, self.layers)), layer(self.out))


def train(texts: Corpus, epochs: int, seed: int, report: Callable[[str], object] = print) -> Net:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Trained(texts.has_cases)
    optimizer = torch.optim.Adam(model.parameters(), LR, betas=(0.9, 0.98), fused=True)
    batches = [batch for _ in range(epochs) for batch in _batches(_trained_on(_runs(texts, random)), random)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=len(batches) + 1, pct_start=WARMUP)
    sums = np.zeros(2)
    for step, batch in enumerate(batches, 1):
        loss = _loss(model, texts, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        sums += loss.item(), 1
        if step % 200 == 0 or step == len(batches):
            report(f"step {step} of {len(batches)}: loss {sums[0] / sums[1]:.4f}")
            sums[:] = 0
    with torch.no_grad():
        model.out.bias[: len(MARKS)] += torch.from_numpy(_offsets(model, texts, random))
    return model.net()


def _runs(texts: Corpus, random: np.random.Generator) -> Iterator[tuple[int, int]]:
    """(first word, word after the last) of each run."""
    line, start = 0, 0
    while line < len(texts.ends):
        line += int(random.integers(1, MOST_LINES + 1))
        end = int(texts.ends[min(line, len(texts.ends)) - 1])
        last = min(end, start + LONGEST_RUN)
        if random.random() < CUT:
            last = start + int(random.integers(1, last - start + 1))
        yield start, last
        start = end


def _trained_on(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The runs that have no word of a block that is kept out."""
    return ((start, last) for start, last in runs if not _is_kept_out(start) and not _is_kept_out(last - 1))


def _is_kept_out(place: int) -> bool:
    return place // BLOCK % KEPT_OUT == KEPT_OUT - 1


def _offsets(model: Trained, texts: Corpus, random: np.random.Generator) -> np.ndarray:
    """The offsets of the marks (4,) that are best on the runs within the blocks that are kept out, without their last
    words, which end a sentence in any case."""
    runs = ((start, last) for start, last in _runs(texts, random) if _is_kept_out(start) and _is_kept_out(last - 1))
    scores, marks = [np.zeros((0, len(MARKS)), np.float32)], [np.zeros(0, np.uint8)]
    with torch.no_grad():
        for start, last in runs:
            found = model(texts.keys[texts.words[start:last]][None])[0, :-1, : len(MARKS)]
            scores.append(found.numpy())
            marks.append(texts.marks[start : last - 1])
    return offsets(np.concatenate(scores), np.concatenate(marks))


def _batches(runs: Iterator[tuple[int, int]], random: np.random.Generator) -> list[list[tuple[int, int]]]:
    """Runs of about the same length, in random order."""
    ordered = sorted(runs, key=lambda run: run[1] - run[0] + random.random())
    batches = [ordered[at : at + BATCH] for at in range(0, len(ordered), BATCH)]
    random.shuffle(batches)
    return batches


def _loss(model: Trained, texts: Corpus, runs: Sequence[tuple[int, int]]) -> torch.Tensor:
    longest = max(last - start for start, last in runs)
    places = np.array([start for start, _ in runs])[:, None] + np.arange(longest)  # (N, T)
    is_word = places < np.array([last for _, last in runs])[:, None]  # (N, T)
    places = np.where(is_word, places, 0)
    scores = model(texts.keys[texts.words[places]] * is_word[..., None])[torch.from_numpy(is_word)]  # (W, outputs)
    loss = F.cross_entropy(scores[:, : len(MARKS)], torch.from_numpy(texts.marks[places][is_word].astype(np.int64)))
    if texts.has_cases:
        cases = torch.from_numpy(texts.cases[places][is_word].astype(np.int64))
        told = cases != UNKNOWN
        if told.any():
            loss = loss + F.cross_entropy(scores[told, len(MARKS) :], cases[told])
    return loss
