"""The stages of a training: monophones, states in context, LDA and MLLT, speakers."""

from dataclasses import dataclass

from asr.config import HmmConfig
from asr.errors import InputError
from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.model import Hmm
from asr.hmm.speakers import Adaptation
from asr.hmm.spliced import Spliced
from asr.hmm.training import Stage
from asr.text.lexicon import Lexicon

MONO_GAUSSIANS = 1000  # of the monophones that triphones start from, as in Kaldi's train_mono.sh


@dataclass(frozen=True)
class Trained:
    """The last stage; the matrix before its mixtures, if any; for adapted mixtures those of speech as it is."""

    stage: Stage
    spliced: Spliced | None = None
    plain: dict[int, Mixture] | None = None


def check_stages(cfg: HmmConfig, deltas: int) -> None:
    """Raises InputError for options that do not fit each other. `deltas`: of the features."""
    if cfg.splice and deltas:
        raise InputError(f"features.deltas={deltas}: the matrix of hmm.splice={cfg.splice} takes the place of "
                         "derivatives; leave it 0")  # fmt: skip
    if cfg.speakers and not cfg.splice:
        raise InputError("hmm.speakers=true needs the matrix of hmm.splice; set hmm=sat")


def train_stages(cfg: HmmConfig, hmm: Hmm, corpus: Corpus, lexicon: Lexicon) -> Trained:
    """All stages that `cfg` asks for, from equal shares on. Raises InputError for speakers without
    a name, and for more dimensions than there are."""
    if cfg.speakers and not any(corpus.speakers[: corpus.own]):
        raise InputError("hmm.speakers=true, but no training utterance has a speaker; name them in the manifest")
    frames, size = 2 * cfg.splice + 1, corpus.features.shape[1]
    if cfg.splice and cfg.dim > frames * size:
        raise InputError(f"hmm.dim={cfg.dim}, but {frames} frames have {frames * size} dimensions; raise hmm.splice")
    spliced = Spliced(corpus, cfg.splice) if cfg.splice else None
    stage = Stage.from_equal_shares(hmm, spliced.corpus() if spliced else corpus, lexicon)
    is_tri = cfg.context == "tri"
    gaussians = min(MONO_GAUSSIANS, cfg.gaussians) if is_tri else cfg.gaussians
    stage.train(lexicon, gaussians, cfg.rounds, "monophones")
    if is_tri:
        stage = stage.in_context(cfg.leaves)
        stage.train(lexicon, cfg.gaussians, cfg.rounds, "triphones")
    if not spliced:
        return Trained(stage)
    spliced.discriminate(stage, cfg.dim)
    stage = stage.over(spliced.corpus())
    stage = stage.in_context(cfg.leaves) if is_tri else stage
    stage.train(lexicon, cfg.gaussians, cfg.rounds, "LDA and MLLT", spliced.refine)
    if not cfg.speakers:
        return Trained(stage, spliced)
    speakers = Adaptation(stage.corpus)
    speakers.refine(stage)
    stage = stage.in_context(cfg.leaves) if is_tri else stage
    stage.train(lexicon, cfg.gaussians, cfg.rounds, "speakers", speakers.refine)
    return Trained(stage, spliced, speakers.unadapted(stage))
