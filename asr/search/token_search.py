"""Greedy search's better sibling for batches: the cheapest token sequences under CTC and an n-gram of tokens, in torch.

    model = token_lm.estimate([tokens.encode(to_units(text, unit)) for text in texts], len(tokens), order=5)
    paths = TokenSearch(model, beam=16, weight=0.5, device="cuda").decode(log_probs, lengths)

It has no words and no graph; all utterances of a batch advance by a frame at a time, whatever the device. A hypothesis
is a history of the n-gram and the output of the last frame, as a token of csrc/decoder is a state and a label; of equal
ones the cheapest stays. With a beam of at least as many hypotheses as there are, the result is exact.

Shapes: N utterances, F frames, V outputs, K hypotheses (the beam), M candidates.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.criteria.lfmmi import TokenModel
from asr.errors import InputError
from asr.tokens import BLANK_ID


@dataclass(frozen=True)
class TokenPath:
    tokens: list[int]  # net outputs without blanks and repetitions
    alignment: np.ndarray  # (F,) the output in each frame
    cost: float  # in nats


class TokenSearch:
    """Thread-safe."""

    def __init__(
        self, model: TokenModel, beam: int = 16, weight: float = 1.0, token_penalty: float = 0.0, device: str = "cpu"
    ):
        """`beam`: the hypotheses kept per frame. The cost of a token sequence is that of its alignment, `weight` times
        that of the n-gram, and `token_penalty` for each token. Raises InputError for a beam below 1, for numbers that
        are not finite, and for a negative weight."""
        if beam < 1 or not 0 <= weight < np.inf or not np.isfinite(token_penalty):
            raise InputError(f"beam={beam}, weight={weight}, token_penalty={token_penalty}: expected a beam of at "
                             "least 1, a weight of at least 0 and a finite penalty")  # fmt: skip
        self._beam, self._start, self._device = beam, model.start, torch.device(device)
        language = _costs(model.log_prob, weight) + token_penalty
        self._language = torch.tensor(language, dtype=torch.float32, device=device)  # (H, V)
        self._successor = torch.tensor(model.successor, device=device)  # (H, V)
        self._final = torch.tensor(_costs(model.log_final, weight), dtype=torch.float32, device=device)  # (H,)

    @torch.inference_mode()
    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[TokenPath]:
        """The cheapest path of each utterance. log_probs (N, F, V), natural; lengths (N,) in frames.

        Raises InputError for another number of outputs than the n-gram's, for NaN, and for lengths that do not fit.
        """
        size, frames, outputs = log_probs.shape
        if outputs != self._language.shape[1]:
            raise InputError(f"the n-gram has {self._language.shape[1]} outputs, the log-probs {outputs}")
        if lengths.shape != (size,) or ((lengths < 0) | (lengths > frames)).any():
            raise InputError(f"lengths={lengths.tolist()} must be {size} numbers of frames from 0 to {frames}")
        if log_probs.isnan().any():
            raise InputError("the log-probs contain NaN")
        costs = -log_probs.to(self._device, torch.float32)
        is_active = torch.arange(frames, device=self._device)[:, None] < lengths.to(self._device)  # (F, N)
        cost = torch.full((size, self._beam), torch.inf, device=self._device)
        cost[:, 0] = 0.0
        history = torch.full_like(cost, self._start, dtype=torch.int64)
        last = torch.full_like(history, BLANK_ID)
        same = torch.arange(self._beam, device=self._device).expand(size, -1)  # (N, K)
        steps = torch.empty((2, frames, size, self._beam), dtype=torch.int32, device=self._device)
        for frame in range(frames):
            found = self._advance(cost, history, last, costs[:, frame])
            before = (cost, history, last, same)
            active = is_active[frame][:, None]
            cost, history, last, parent = (torch.where(active, a, b) for a, b in zip(found, before, strict=True))
            steps[0, frame], steps[1, frame] = parent, last
        cost, at = (cost + self._final[history]).min(1)
        return _traced(steps.cpu().numpy(), at.cpu().numpy(), cost.tolist(), lengths.tolist())

    def _advance(self, cost: Tensor, history: Tensor, last: Tensor, frame: Tensor) -> tuple[Tensor, ...]:
        """The hypotheses (N, K) after a frame with costs (N, V): cost, history, output, and place of the one before."""
        outputs = frame.shape[1]
        output = torch.arange(outputs, device=frame.device)
        stays = (output == BLANK_ID) | (output == last[:, :, None])  # (N, K, V): no new token
        after = torch.where(stays, history[:, :, None], self._successor[history])
        whole = cost[:, :, None] + torch.where(stays, 0.0, self._language[history]) + frame[:, None]
        # Each of K hypotheses has a copy of a candidate at most, so the best K different ones are among the best K * K.
        some, place = whole.flatten(1).topk(min(self._beam**2, self._beam * outputs), largest=False)  # (N, M)
        key = after.flatten(1).gather(1, place) * outputs + place % outputs
        order = key.argsort(dim=1, stable=True)
        key = key.gather(1, order)
        some = some.gather(1, order)
        some[:, 1:][key[:, 1:] == key[:, :-1]] = torch.inf  # behind an equal one that is cheaper
        cost, kept = some.topk(self._beam, largest=False)  # (N, K)
        key, place = key.gather(1, kept), place.gather(1, order.gather(1, kept))
        return cost, key // outputs, key % outputs, place // outputs


def _costs(log_probs: np.ndarray, weight: float) -> np.ndarray:
    """The costs of log-probs; what is impossible stays so at the weight 0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(log_probs), np.inf, -weight * log_probs)


def _traced(steps: np.ndarray, at: np.ndarray, costs: list[float], lengths: list[int]) -> list[TokenPath]:
    """The paths that end at the hypotheses `at` (N,), by the places before and the outputs: steps (2, F, N, K)."""
    paths = []
    for n, (cost, length) in enumerate(zip(costs, lengths, strict=True)):
        alignment, place = np.zeros(length, np.int32), int(at[n])
        for frame in range(length - 1, -1, -1):
            alignment[frame] = steps[1, frame, n, place]
            place = steps[0, frame, n, place]
        is_new = np.diff(alignment, prepend=BLANK_ID) != 0
        paths.append(TokenPath(alignment[is_new & (alignment != BLANK_ID)].tolist(), alignment, cost))
    return paths
