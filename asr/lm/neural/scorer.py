"""Costs of texts by a neural language model. Texts with the same beginning share the work for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from asr.errors import InputError
from asr.lm.model import LN10
from asr.lm.neural.file import NeuralModel
from asr.lm.neural.net import END_ID, UNKNOWN_ID, Net, State
from asr.lm.neural.texts import known
from asr.pieces import are_pieces

MOST_ROWS = 4096  # predicted at a time


class NeuralScorer:
    """Thread-safe."""

    def __init__(self, model: NeuralModel):
        self._model = model
        self._ids = known(self._model.vocabulary)
        self.words_in, self.of_pieces = self._model.vocabulary.words_in, self._model.vocabulary.of_pieces
        # The words outside the vocabulary share the probability of <unk>, so that a text does not gain by them.
        self._unknown_cost = float(np.log(max(1, self._model.num_unknown)))

    def costs(self, texts: Sequence[str]) -> list[float]:
        """The cost of each text with its end, in nats.

        A word outside the vocabulary has the probability of `<unk>` divided by the number of different words of the
        training text that were outside it.
        """
        found = {text: self._encoded(text) for text in texts}
        costs = dict(zip(found, self._costs(list(found.values())), strict=True))
        return [costs[text] for text in texts]

    def full_scores(self, sentence: str) -> Iterator[tuple[float, int, bool]]:
        """As `asr.lm.score.Scorer.full_scores`: an unknown word has the full probability of `<unk>`."""
        ids = self._encoded(sentence)
        following = torch.tensor([*ids, END_ID])
        with torch.inference_mode():
            hidden, _ = self._model.net(torch.tensor([[END_ID, *ids]]))
            log_probs = self._model.net.log_probs(hidden[0], following).double() / LN10
        for place, (log10_prob, id) in enumerate(zip(log_probs.tolist(), following.tolist(), strict=True), 1):
            yield log10_prob, place, id == UNKNOWN_ID

    def along(self, words: Sequence[str], order: int) -> "Paths":
        """The model along the paths of lattices; see `Paths`."""
        return Paths(self, words, order)

    def _encoded(self, text: str) -> list[int]:
        return [self._ids.get(word, UNKNOWN_ID) for word in self.words_in(text)]

    def _steps(self, hidden: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
        """The costs (P,) of pairs (2, P) of a row of the hidden values (R, H) and a word."""
        return self._unknown_cost * (pairs[1] == UNKNOWN_ID) - _log_probs(self._model.net, hidden, pairs)

    @torch.inference_mode()
    def _costs(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """All texts advance by a word at a time. Those that have been equal so far are one row of the net."""
        net = self._model.net
        totals = [0.0] * len(texts)
        active = list(range(len(texts)))  # the texts that have not ended
        rows: np.ndarray = np.zeros(len(texts), np.int64)  # of each active text
        words, costs = np.array([END_ID]), np.zeros(1)  # of each row: its last word, and the cost up to it
        state: State | None = None
        place = 0
        while active:
            hidden, state = _advance(net, words, state)
            following = np.array([texts[t][place] if place < len(texts[t]) else END_ID for t in active])
            pairs, places = np.unique(np.stack([rows, following]), axis=1, return_inverse=True)
            after = costs[pairs[0]] + self._steps(hidden, pairs)  # (P,)
            places = places.reshape(-1)
            for text, pair in zip(active, places.tolist(), strict=True):
                if place == len(texts[text]):
                    totals[text] = float(after[pair])
            goes_on = pairs[1] != END_ID
            number = np.cumsum(goes_on) - 1  # of the rows that go on
            is_active = goes_on[places]
            active = [text for text, keep in zip(active, is_active.tolist(), strict=True) if keep]
            rows = number[places[is_active]]
            words, costs = pairs[1][goes_on], after[goes_on]
            before = torch.from_numpy(pairs[0][goes_on])
            state = (state[0][:, before], state[1][:, before])
            place += 1
        return totals


@dataclass(frozen=True)
class History:
    """What a path has said. Equal to others with the same last words."""

    words: tuple[int, ...]  # the last ones
    last: int = field(compare=False)
    states: State | None = field(compare=False)  # of the net before the last word, of several histories
    row: int = field(compare=False)  # of this one


class Paths:
    """A neural model that follows the paths of lattices (`asr.search.rescoring.WordScorer`).

    As in an n-gram model of this order, paths are told apart by their last `order` - 1 words; where they agree, the
    state of one of them stands for all (Liu et al. 2014)."""

    def __init__(self, scorer: NeuralScorer, words: Sequence[str], order: int):
        """`words[label]` are the words of the graph. Raises InputError if the model's are pieces and those are not, or
        the other way round."""
        if scorer.of_pieces != are_pieces(words):
            raise InputError("the neural language model and the graph do not have the same unit (lm.unit): words or "
                             "characters")  # fmt: skip
        self._scorer, self._words, self._most = scorer, words, order - 1

    def start(self) -> History:
        return History((END_ID,)[: self._most], END_ID, None, 0)

    @torch.inference_mode()
    def step(
        self, histories: Sequence[History], rows: np.ndarray, labels: np.ndarray
    ) -> tuple[list[History], np.ndarray]:
        words = np.array([history.last for history in histories])
        hidden, states = _advance(self._scorer._model.net, words, _gathered(histories))
        ids = [END_ID if label < 0 else self._scorer._ids.get(self._words[label], UNKNOWN_ID) for label in labels]
        costs = self._scorer._steps(hidden, np.stack([rows, np.array(ids)]))
        after = [
            History(self._last((*histories[row].words, id)), id, states, row)
            for row, id in zip(rows.tolist(), ids, strict=True)
        ]
        return after, costs

    def _last(self, words: tuple[int, ...]) -> tuple[int, ...]:
        return words[max(0, len(words) - self._most) :]


def _gathered(histories: Sequence[History]) -> State | None:
    """The states (L, R, H) of R histories, or None at the start."""
    batches: dict[int, tuple[State, int]] = {}  # the batch, and its first row among all
    size, rows = 0, []
    for history in histories:
        if history.states is None:
            return None  # this is the start, which is alone
        if id(history.states) not in batches:
            batches[id(history.states)] = history.states, size
            size += history.states[0].shape[1]
        rows.append(batches[id(history.states)][1] + history.row)
    chosen = torch.tensor(rows)
    h, c = (torch.cat([batch[k] for batch, _ in batches.values()], 1)[:, chosen] for k in range(2))
    return h, c


def _advance(net: Net, words: np.ndarray, state: State | None) -> tuple[torch.Tensor, State]:
    """The hidden values (R, H) after a word of each row, and the states."""
    hidden, state = net(torch.from_numpy(words)[:, None], state)
    return hidden[:, 0], state


def _log_probs(net: Net, hidden: torch.Tensor, pairs: np.ndarray) -> np.ndarray:
    """The log-probs (P,) of pairs (2, P) of a row and a word."""
    parts = [
        net.log_probs(hidden[torch.from_numpy(rows)], torch.from_numpy(words))
        for rows, words in (pairs[:, at : at + MOST_ROWS] for at in range(0, pairs.shape[1], MOST_ROWS))
    ]
    return torch.cat(parts).double().numpy()
