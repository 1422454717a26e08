"""Training of GMM-HMMs: align the frames, re-estimate the mixtures from their frames, split them, align again.

Monophones start from equal shares of each utterance. Their alignment gives the trees of the states in context, and
these train in the same way. Schedule and sizes are like those of Kaldi's steps/train_mono.sh and train_deltas.sh.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from asr.errors import InputError
from asr.hmm import mixtures
from asr.hmm.alignment import Aligner, acceptor, equal_path
from asr.hmm.contexts import in_context, relabelled, tally_contexts
from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments, Spellings
from asr.hmm.topology import count_steps, reestimated
from asr.models.mixtures import MixtureOutput
from asr.text.lexicon import Lexicon

STEPS = 2  # of expectation maximisation per round
GROWTH = 0.75  # the fraction of the rounds in which mixtures grow
EARLY, EVERY = 6, 4  # the first rounds after equal shares are all aligned again, then every so many
REFINED = (2, 4, 6, 12)  # rounds before which the features are refined (Kaldi: mllt_iters and fmllr_iters)
BEAM = 10.0  # of the alignments, which are repeated without where it loses all paths (Kaldi: 10)
Path = NDArray[np.int32]  # (F,) outputs


@dataclass
class Stage:
    """An HMM with its mixtures and the paths of the utterances; None for an utterance that has none."""

    hmm: Hmm
    corpus: Corpus
    paths: list[Path | None]
    mixtures: dict[int, Mixture] = field(default_factory=dict)  # by output
    log_likelihood: float = 0.0  # per training frame, under the mixtures of the outputs

    @classmethod
    def from_equal_shares(cls, hmm: Hmm, corpus: Corpus, lexicon: Lexicon) -> "Stage":
        """The flat start. Raises InputError if no training utterance is long enough for its states."""
        lengths = np.diff(corpus.first).tolist()
        paths = [equal_path(words, lexicon, hmm, n) for words, n in zip(corpus.words, lengths, strict=True)]
        return cls(hmm, corpus, paths)

    @property
    def floor(self) -> torch.Tensor:
        """The least variances (D,)."""
        return mixtures.variance_floor(self.corpus.trained)

    def over(self, corpus: Corpus) -> "Stage":
        """The stage of the same HMMs and paths over other features, without mixtures."""
        return Stage(self.hmm, corpus, self.paths)

    def in_context(self, leaves: int, lexicon: Lexicon) -> "Stage":
        """The stage of HMMs in context with up to `leaves` outputs, from the paths of this one."""
        spelled = self.spellings(lexicon)
        aligned = ((path, spelled[n], self.corpus.frames(n).numpy()) for n, path in self.aligned())
        frames = tally_contexts(self.hmm, aligned, self.corpus.features.shape[1])
        hmm = in_context(self.hmm, frames, leaves, self.floor.numpy())
        pairs = zip(self.paths, spelled, strict=True)
        return Stage(hmm, self.corpus, [None if p is None else relabelled(p, self.hmm, hmm, s) for p, s in pairs])

    def spellings(self, lexicon: Lexicon) -> list[Spellings]:
        """What tells the phones of each path; see `Segments.of`."""
        segments = Segments(self.hmm)
        return [segments.spellings(words, lexicon) for words in self.corpus.words]

    def aligned(self) -> Iterator[tuple[int, Path]]:
        """Number and path (F,) of each training utterance that has a path.

        Raises InputError if there is none.
        """
        return ((n, path) for n, path in enumerate(self._own_paths()) if path is not None)

    def _own_paths(self) -> list[Path | None]:
        paths = self.paths[: self.corpus.own]
        if all(path is None for path in paths):
            raise InputError("no training utterance has enough frames for its transcript; check texts and recordings")
        return paths

    def train(
        self, lexicon: Lexicon, gaussians: int, rounds: int, title: str, refine: Callable[["Stage"], None] | None = None
    ) -> None:
        """Rounds in which the mixtures grow to `gaussians` Gaussians in all; then the probabilities of the steps, and
        the last alignment. `refine` is called before some of the rounds and may change the features. `title`: of the
        bar."""
        aligners = [self.aligner(number, lexicon) for number in range(self.corpus.own)]
        early = 0 if self.hmm.has_contexts else EARLY
        least, growing = len(self.hmm.tokens) - 1, max(1.0, GROWTH * rounds - 1)
        with tqdm(total=rounds, desc=title) as bar:
            for number in range(rounds):
                if refine and number in REFINED:
                    refine(self)
                self.reestimate(round(least + max(0, gaussians - least) * min(1.0, number / growing)))
                if number < early or number % EVERY == EVERY - 1:
                    self.align(aligners, BEAM)
                bar.set_postfix(gaussians=sum(map(len, self.mixtures.values())), ln_p=f"{self.log_likelihood:.2f}")
                bar.update()
        self.hmm = self.hmm.with_steps(self.counted_steps(lexicon))
        self.align((self.aligner(number, lexicon) for number in range(len(self.corpus.ids))), BEAM)

    def aligner(self, number: int, lexicon: Lexicon) -> Aligner:
        return Aligner(acceptor(self.corpus.words[number], lexicon, self.hmm), self.hmm)

    def reestimate(self, gaussians: int) -> None:
        """The mixtures of the frames that the paths give each output. An output without frames keeps its mixture, or
        gets one Gaussian over all frames."""
        parts = self.by_output()
        counts = torch.tensor([len(frames) for frames in parts])
        total, floor = 0.0, self.floor
        for output, (frames, size) in enumerate(zip(parts, mixtures.sizes(counts, gaussians), strict=True), start=1):
            if not len(frames):
                self.mixtures.setdefault(output, Mixture.single(torch.cat(parts), floor))
                continue
            frames = frames.double()  # once for all steps
            mixture = (self.mixtures.get(output) or Mixture.single(frames, floor)).split(size)
            for _ in range(STEPS):
                mixture = mixture.reestimated(frames, floor)
            self.mixtures[output] = mixture
            total += mixture.log_likelihood(frames)
        self.log_likelihood = total / int(counts.sum())

    def by_output(self, corpus: Corpus | None = None) -> tuple[torch.Tensor, ...]:
        """The training frames (f, D) of each output from 1 on. `corpus`: other features of the same frames."""
        pairs = [(path, (corpus or self.corpus).frames(n)) for n, path in self.aligned()]
        path, x = torch.from_numpy(np.concatenate([p for p, _ in pairs])), torch.cat([frames for _, frames in pairs])
        counts = torch.bincount(path, minlength=len(self.hmm.tokens))[1:]
        return x[path.argsort(stable=True)].split(counts.tolist())

    def align(self, aligners: Iterable[Aligner], beam: float = math.inf) -> None:
        """The best path of each utterance that has an aligner."""
        layer = self.output_layer()
        for number, aligner in enumerate(aligners):
            with torch.inference_mode():
                scores = layer.log_likelihoods(self.corpus.frames(number), torch.from_numpy(aligner.outputs))
            self.paths[number] = aligner.align(scores.numpy(), beam)

    def output_layer(self) -> MixtureOutput:
        """The mixtures as the output layer of a net."""
        return mixtures.to_output(self.mixtures, len(self.hmm.tokens), self.hmm.scale)

    def counted_steps(self, lexicon: Lexicon) -> list[np.ndarray]:
        """The topologies with the probabilities of the steps that the training paths take."""
        segments, spelled = Segments(self.hmm), self.spellings(lexicon)
        counts = [np.zeros_like(steps) for steps in self.hmm.steps]
        for number, path in self.aligned():
            for _, phone, _, begin, end in segments.of(path, spelled[number]):
                counts[phone - 1] += count_steps(segments.state[path[begin:end]], len(counts[phone - 1]) - 1)
        return [reestimated(steps, seen) for steps, seen in zip(self.hmm.steps, counts, strict=True)]

    def unheard(self) -> list[str]:
        """The names of the outputs that no training frame is aligned with."""
        heard = {output for _, path in self.aligned() for output in np.unique(path).tolist()}
        return [name for output, name in enumerate(self.hmm.tokens.symbols) if output and output not in heard]
