"""Adapting HMMs to the speakers of a manifest (fMLLR): recognise, estimate the speaker's transform, recognise again.

With `adapt.passes` the transform is estimated again from what the adapted mixtures recognise.

Only models of `asr hmm train hmm=sat` have what it takes; others recognise all speakers alike.
"""

import copy
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr.data.dataset import load_input
from asr.errors import InputError
from asr.hmm.speakers import Tally, adapted, pull_of, speech_of
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.models.mixtures import MixtureNet
from asr.search.searchers import make_decoder
from asr.states import States

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

STEPS = 3  # of expectation maximisation on the words of a pass
SPREAD = 8  # of a speaker's utterances every so many are heard first, as sessions may differ
_log = logging.getLogger(__name__)
Scored = list[tuple[str, np.ndarray, float]]  # id, log-probs (F', V), seconds
Heard = list[tuple[Tensor, np.ndarray]]  # frames (F, D) of speech without a transform, and their outputs (F,)


def adapts(recognizer: "Recognizer") -> bool:
    """Whether the recogniser recognises the speakers of a manifest by transforms of their own."""
    net = recognizer.model.net if isinstance(recognizer.model, AcousticModel) else None
    return isinstance(net, MixtureNet) and net.adapted is not None and recognizer.space is not None


def tell_unadapted(model: object, verb: str) -> None:
    """Says on the log that HMMs which adapt to speakers do not do so in `verb`, where none are named."""
    if isinstance(model, AcousticModel) and isinstance(model.net, MixtureNet) and model.net.adapted is not None:
        _log.info("%s does not adapt these HMMs to speakers; asr decode does, for a manifest with speakers", verb)


def score_by_speaker(recognizer: "Recognizer", utterances: Sequence[Utterance], bar: tqdm) -> Iterator[Scored]:
    """As `Recognizer.score_utterances`, but a model that adapts scores each speaker by a recogniser of that speaker."""
    for adapted_to, own in recognizers_of(recognizer, utterances, bar):
        yield from adapted_to.score_utterances(own, bar)


def recognizers_of(
    recognizer: "Recognizer", utterances: Sequence[Utterance], bar: tqdm
) -> Iterator[tuple["Recognizer", Sequence[Utterance]]]:
    """The utterances of each speaker, with the recogniser that is adapted to that speaker; those without a speaker or
    with too little speech come last, with the given recogniser, and are counted on `bar`. A model that does not adapt
    recognises all of them.

    The transforms of all speakers are estimated first, with a progress bar of their own; `bar` starts after that.
    """
    passes, frames = recognizer.cfg.adapt.passes, recognizer.cfg.adapt.speech_s / recognizer.frame_s
    if not adapts(recognizer):
        yield recognizer, utterances
        return
    groups: dict[str | None, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        groups[utterance.speaker].append(utterance)
    alike = groups.pop(None, [])
    speakers = tqdm(groups.items(), "adapt", unit="speaker", disable=bar.disable or not groups)
    transforms = {speaker: transform_of(recognizer, own, passes, frames) for speaker, own in speakers}
    bar.unpause()
    for speaker, own in groups.items():
        transform = transforms[speaker]
        if transform is None:
            alike += own
        else:
            yield for_speaker(recognizer, transform), own
    if alike:
        bar.write(f"{len(alike)} of {len(utterances)} utterances are recognised without adaptation: their speaker is "
                  "not named or says too little")  # fmt: skip
        yield recognizer, alike


def for_speaker(recognizer: "Recognizer", transform: Tensor) -> "Recognizer":
    """The recogniser of the speaker with a transform (D, D + 1)."""
    model = recognizer.model
    assert isinstance(model, AcousticModel) and isinstance(model.net, MixtureNet)
    own = model.with_net(model.net.for_speaker(transform.to(recognizer.device)))
    return type(recognizer)(
        own, recognizer.cfg, recognizer.tokens, recognizer.space, recognizer.device, recognizer.lexicon,
        rescorer=recognizer.rescorer, hmm=recognizer.hmm,
    )  # fmt: skip


def transform_of(
    recognizer: "Recognizer", utterances: Sequence[Utterance], passes: int, frames: float
) -> Tensor | None:
    """The transform (D, D + 1) of one speaker, from what the recogniser hears in the utterances; None if that is too
    little. Utterances that cannot be read are left out, and those that are left when a pass has heard so many
    `frames`."""
    model = recognizer.model
    assert isinstance(model, AcousticModel) and isinstance(model.net, MixtureNet)
    net = copy.deepcopy(model.net).cpu()
    transform: Tensor | None = None
    for _ in range(passes):
        found = _transform(net, _heard(recognizer, net, utterances, transform, frames), transform)
        if found is None:  # too little speech: a later pass keeps what the one before found
            break
        transform = found
    return transform


def _heard(
    recognizer: "Recognizer",
    net: MixtureNet,
    utterances: Sequence[Utterance],
    transform: Tensor | None,
    frames: float,
) -> Heard:
    """What a pass recognises as speech: with the mixtures of unadapted speech, or with a transform by the others."""
    space, states = recognizer.space, States.of(recognizer.tokens)
    assert space and states and net.adapted is not None
    is_speech = speech_of(states, space.silence)
    decoder = make_decoder(space.graph, replace(recognizer.cfg.decoder, lattice_beam=None))
    layer = net.output if transform is None else net.adapted
    heard: Heard = []
    for utterance in (u for start in range(SPREAD) for u in utterances[start::SPREAD]):
        if sum(len(path) for _, path in heard) >= frames:
            break
        try:
            x = scored(recognizer, utterance)
        except InputError:
            continue
        if len(x):
            path = decoder.decode(layer(adapted(x, transform)[None])[0].numpy()).alignment
            heard.append((x[is_speech[path]], path[is_speech[path]]))
    return heard


@torch.inference_mode()
def scored(recognizer: "Recognizer", utterance: Utterance) -> Tensor:
    """What the mixtures score of an utterance: (F, D), on the CPU."""
    model = recognizer.model
    assert isinstance(model, AcousticModel) and isinstance(model.net, MixtureNet)
    x = torch.from_numpy(load_input(recognizer.cfg, utterance))[None]
    lengths = torch.tensor([x.shape[1]])
    if not model.can_score(lengths).all():
        return torch.zeros(0, model.net.output.means.shape[2])
    return model.net.scored(*model.frontend(x.to(recognizer.device), lengths))[0][0].cpu()


def _transform(net: MixtureNet, heard: Heard, start: Tensor | None) -> Tensor | None:
    """The transform (D, D + 1) of the speaker of `heard`. Without a `start` the mixtures of unadapted speech say first
    which Gaussians the frames belong to, then those of adapted speech."""
    assert net.adapted is not None
    found = start
    for _ in range(STEPS):
        tally = Tally(net.output.means.shape[2])
        for x, path in heard:
            first = net.output if found is None else net.adapted
            tally.add(x, pull_of(path, adapted(x, found), first, net.adapted))
        found = tally.transform(found)
        if found is None:
            return None
    return found
