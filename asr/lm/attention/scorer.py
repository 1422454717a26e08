"""Costs of texts given their sound. Texts with the same beginning share the work for it: they are a tree of tokens,
which the decoder reads at once, each token attending to those before it on its path."""

import logging
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from asr.errors import InputError
from asr.lm.attention.file import AttentionModel
from asr.lm.attention.net import Offered
from asr.lm.attention.pieces import END, beginning

_log = logging.getLogger(__name__)
MOST_NODES = 1024  # of a tree that is read at once
MOST_LOGITS = 1 << 22  # that are in memory at once


class AttentionScorer:
    """Thread-safe."""

    def __init__(self, model: AttentionModel):
        self.model, self.rate_hz = model, model.encoder.rate_hz
        ids = model.pieces.ids
        self._begin, self._end = [ids[mark] for mark in beginning(model.language)], ids[END]

    def to(self, device: str) -> None:
        """Move the model; costs are the same on all devices but for rounding."""
        if self.device != torch.device(device):
            self.model.parts.to(device)

    @property
    def device(self) -> torch.device:
        return self.model.decoder.embeddings.device

    def costs(self, texts: Sequence[str]) -> list[float]:
        """Texts without their sound have none: raises InputError."""
        raise InputError("this model needs the sound of a text; it can rank the readings of recordings alone")

    def heard(self, samples: np.ndarray) -> "HeardTexts":
        """The costs of texts given a recording (T,) at `rate_hz`, which is encoded when they are asked for."""
        return HeardTexts(self, samples)

    def encoded(self, text: str) -> list[int]:
        """The tokens of a text, with those before it and its end."""
        return [*self._begin, *self.model.pieces.encode(text), self._end]

    @property
    def begin_length(self) -> int:
        return len(self._begin)


class HeardTexts:
    """Costs of texts given one recording."""

    def __init__(self, scorer: AttentionScorer, samples: np.ndarray):
        self._scorer, self._samples = scorer, samples

    @torch.inference_mode()
    def costs(self, texts: Sequence[str]) -> list[float]:
        """The cost of each text with its end, in nats. 0 for all if one is longer than the decoder can read, of which a
        warning tells, and if the sound is too short for a frame."""
        rows = {text: self._scorer.encoded(text) for text in texts}
        longest, most = max(map(len, rows.values()), default=0), self._scorer.model.decoder.sizes.positions
        if longest > most:
            _log.warning("a reading of %d tokens is longer than the model of the second pass can read, %d: the "
                         "readings of this recording are not ranked by their sound", longest, most)  # fmt: skip
            return [0.0] * len(texts)
        if self._offered is None:
            return [0.0] * len(texts)
        found: dict[str, float] = {}
        for part in _parts(sorted(rows, key=rows.__getitem__), rows):
            found.update(zip(part, self._costs([rows[text] for text in part], self._offered), strict=True))
        return [found[text] for text in texts]

    @cached_property
    def _offered(self) -> Offered | None:
        """What the decoder attends to, for all calls; None if the sound is too short for a frame."""
        encoder, decoder = self._scorer.model.encoder, self._scorer.model.decoder
        samples = torch.from_numpy(np.ascontiguousarray(self._samples, np.float32)).to(self._scorer.device)
        sound = encoder.encode(samples, encoder.layers)  # (F, D)
        return decoder.offered(sound[None]) if len(sound) else None

    def _costs(self, rows: Sequence[list[int]], offered: Offered) -> list[float]:
        tree = Tree(rows, self._scorer.device)
        costs = self.of_steps(tree, offered).double().cpu()
        if not torch.isfinite(costs).all():
            raise InputError("the model of the second pass gives costs that are not finite; make it again with "
                             "`asr lm convert`")  # fmt: skip
        first = self._scorer.begin_length - 1
        return [float(costs[steps[first:]].sum()) for steps in tree.paths]

    def of_steps(self, tree: "Tree", offered: Offered) -> Tensor:
        """The costs (S,) of the steps of a tree."""
        decoder = self._scorer.model.decoder
        states = decoder.states(tree.ids[None], tree.places, offered, tree.mask)[0]  # (M, D)
        parts = states.split(max(1, MOST_LOGITS // len(decoder.embeddings)))
        totals = torch.cat([(part @ decoder.embeddings.T).logsumexp(1) for part in parts])  # (M,)
        logits = (states[tree.before] * decoder.embeddings[tree.after]).sum(1)  # (S,)
        return totals[tree.before] - logits


class Tree:
    """Rows of tokens as a tree of M nodes, each a token that another follows, and S steps, each from a node to a token.

    `mask` (M, M): the nodes on the path to each; `paths`: the steps of each row. Tensors are on `device`."""

    def __init__(self, rows: Sequence[list[int]], device: torch.device):
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        steps: dict[tuple[int, int], int] = {}  # (node, token after it) -> step
        parents, places = [], []
        self.paths = []
        for row in rows:
            at, path = -1, []
            for place, (token, after) in enumerate(zip(row, row[1:], strict=False)):
                if (at, token) not in nodes:
                    nodes[at, token] = len(nodes)
                    parents.append(at)
                    places.append(place)
                at = nodes[at, token]
                path.append(steps.setdefault((at, after), len(steps)))
            self.paths.append(path)
        self.ids = torch.tensor([token for _, token in nodes], device=device)
        self.places = torch.tensor(places, device=device)
        self.before, self.after = (torch.tensor([step[k] for step in steps], device=device) for k in (0, 1))
        mask = torch.eye(len(nodes), dtype=torch.bool)
        for node, parent in enumerate(parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        self.mask = mask.to(device)


def _parts(texts: Sequence[str], rows: dict[str, list[int]]) -> list[list[str]]:
    """Texts in parts of at most `MOST_NODES` tokens, or one text; neighbours share the most."""
    parts: list[list[str]] = []
    count = 0
    for text in texts:
        count += len(rows[text])
        if not parts or count > MOST_NODES:
            parts.append([])
            count = len(rows[text])
        parts[-1].append(text)
    return parts
