"""The stages of a training: monophones, states in context, LDA and MLLT, speakers."""

from dataclasses import dataclass

from asr.config import HmmConfig
from asr.errors import InputError
from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.model import Hmm
from asr.hmm.resume import ResumePoint
from asr.hmm.speakers import Adaptation
from asr.hmm.spliced import Spliced
from asr.hmm.training import Stage
from asr.text.lexicon import Lexicon

MONO, TRI, LDA, SPEAKERS = "monophones", "triphones", "LDA and MLLT", "speakers"
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
    if 1.0 not in cfg.speeds or len({*cfg.speeds}) < len(cfg.speeds):
        raise InputError(f"hmm.speeds={cfg.speeds} must name 1, the recordings as they are, and each speed once")


def train_stages(cfg: HmmConfig, hmm: Hmm, corpus: Corpus, lexicon: Lexicon, point: ResumePoint) -> Trained:
    """All stages that `cfg` asks for, from equal shares on, or from the last one that `point` has. Raises InputError
    for speakers without a name, and for more dimensions than there are."""
    if cfg.speakers and not any(corpus.speakers[: corpus.own]):
        raise InputError("hmm.speakers=true, but no training utterance has a speaker; name them in the manifest")
    frames, size = 2 * cfg.splice + 1, corpus.features.shape[1]
    if cfg.splice and cfg.dim > frames * size:
        raise InputError(f"hmm.dim={cfg.dim}, but {frames} frames have {frames * size} dimensions; raise hmm.splice")
    spliced = Spliced(corpus, cfg.splice) if cfg.splice else None
    speakers: Adaptation | None = None
    is_tri, names = cfg.context == "tri", stages_of(cfg)
    resumed = point.read(corpus)
    if resumed and spliced and resumed.matrix is not None:
        spliced.matrix = resumed.matrix
    stage = resumed.stage if resumed else Stage.from_equal_shares(hmm, corpus, lexicon)
    stage.corpus = spliced.corpus() if spliced else corpus
    done = names.index(resumed.name) + 1 if resumed else 0
    for number, name in enumerate(names[done:], start=done + 1):
        refine = None
        if name == LDA and spliced:
            spliced.discriminate(stage, cfg.dim)
            stage, refine = stage.over(spliced.corpus()), spliced.refine
        if name == SPEAKERS:
            speakers = Adaptation(stage.corpus)
            speakers.refine(stage)
            refine = speakers.refine
        if is_tri and name != MONO:
            stage = stage.in_context(cfg.leaves, lexicon)
        gaussians = min(MONO_GAUSSIANS, cfg.gaussians) if is_tri and name == MONO else cfg.gaussians
        stage.train(lexicon, gaussians, cfg.rounds, f"stage {number} of {len(names)}: {name}", refine)
        if name != names[-1]:
            point.write(name, stage, spliced.matrix if spliced else None)
    return Trained(stage, spliced, speakers.unadapted(stage) if speakers else None)


def stages_of(cfg: HmmConfig) -> list[str]:
    """The names of the stages, in their order."""
    wanted = {MONO: True, TRI: cfg.context == "tri", LDA: bool(cfg.splice), SPEAKERS: cfg.speakers}
    return [name for name, is_wanted in wanted.items() if is_wanted]
