"""Features over several frames: a matrix from neighbouring frames, found by LDA and turned by MLLT.

Haeb-Umbach & Ney 1992 for LDA over spliced frames; Gopinath 1998 and Gales 1999 for MLLT. The first stages see the
derivatives of the features, which are a matrix over neighbouring frames too.
"""

import torch
from torch import Tensor

from asr.features.spectra import delta_kernels
from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.training import Stage
from asr.hmm.transforms import climb, lda
from asr.models.layers import MaskedConv

ORDERS = 2  # of the derivatives


class Spliced:
    """A matrix (P, D K) over K neighbouring frames of the features (F, D) of `raw`: `matrix`, float64, in the order of
    the weights of a convolution."""

    def __init__(self, raw: Corpus, splice: int):
        """The derivatives, as far as `splice` frames on each side reach."""
        self.raw, self.width = raw, 2 * splice + 1
        dim = raw.features.shape[1]
        kernels = torch.zeros(1 + ORDERS, self.width, dtype=torch.float64)
        kernels[0, splice] = 1
        found = delta_kernels(ORDERS)  # (orders, W)
        reach = min(splice, found.shape[1] // 2)
        middle = found.shape[1] // 2
        kernels[1:, splice - reach : splice + reach + 1] = found[:, middle - reach : middle + reach + 1]
        self.matrix = torch.kron(torch.eye(dim, dtype=torch.float64), kernels)  # a block per dimension

    def layer(self) -> MaskedConv:
        """The matrix as a layer of a net."""
        dim = self.raw.features.shape[1]
        layer = MaskedConv(dim, len(self.matrix), self.width).requires_grad_(False)
        matrix = self.matrix.reshape(-1, dim, self.width).float()
        layer.load_state_dict({"conv.weight": matrix, "conv.bias": torch.zeros(len(matrix))})
        return layer

    def corpus(self) -> Corpus:
        """The corpus of the features that the matrix makes."""
        layer = self.layer()
        utterances = (self.raw.frames(number)[None] for number in range(len(self.raw.ids)))
        with torch.inference_mode():
            return self.raw.with_features([layer(x, torch.ones(1, x.shape[1], 1))[0] for x in utterances])

    def discriminate(self, stage: Stage, dim: int) -> None:
        """The matrix becomes that of LDA: `dim` directions that tell the outputs of the stage apart."""
        size = self.raw.features.shape[1] * self.width
        classes = len(stage.hmm.tokens)
        counts = torch.zeros(classes, dtype=torch.float64)
        sums, squares = torch.zeros(classes, size).double(), torch.zeros(size, size).double()
        for number, path in stage.aligned():
            spliced = self.spliced(self.raw.frames(number))
            outputs = torch.from_numpy(path).long()
            counts += torch.bincount(outputs, minlength=classes)
            sums.index_add_(0, outputs, spliced)
            squares += spliced.T @ spliced
        self.matrix = lda(counts, sums, squares, dim)

    def spliced(self, x: Tensor) -> Tensor:
        """Frames (F, D) with those around, zeros beyond the ends: (F, D K), float64."""
        splice = self.width // 2
        return torch.nn.functional.pad(x.double(), (0, 0, splice, splice)).unfold(0, self.width, 1).flatten(1)

    def refine(self, stage: Stage) -> None:
        """One step of MLLT: turns the matrix so that the diagonal covariances of the stage's mixtures fit better, and
        fits them to the new features."""
        parts, old = stage.by_output(), stage.mixtures
        shares = {output: old[output].shares(x) for output, x in enumerate(parts, 1) if len(x)}
        dim = stage.corpus.features.shape[1]
        g = torch.zeros(dim, dim, dim, dtype=torch.float64)
        for output, of in shares.items():
            for mean, variance, share in zip(old[output].means, old[output].variances, of.T, strict=True):
                deviation = parts[output - 1].double() - mean
                g += (1 / variance)[:, None, None] * ((deviation * share[:, None]).T @ deviation)
        frames = float(sum(map(len, parts)))
        turn = climb(torch.eye(dim, dtype=torch.float64), g, torch.zeros(dim, dim, dtype=torch.float64), frames)
        self.matrix = turn @ self.matrix
        stage.corpus = self.corpus()
        parts, floor = stage.by_output(), stage.floor
        stage.mixtures = {output: Mixture.fitted(parts[output - 1], of, floor) for output, of in shares.items()}
