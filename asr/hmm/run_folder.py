"""Training HMMs into a run folder, which every other verb then opens as that of a trained net.

`train/` gets what `asr train` writes (config.json, tokens.txt, final.safetensors), and besides hmm.json (asr.hmm.model)
and alignments.npz (asr.data.alignments) with the paths of the training and the dev set.
"""

import dataclasses
import json
import logging
from pathlib import Path

from asr.config import AugmentConfig, Config, CriterionConfig, ModelConfig, OptimConfig, check_choices
from asr.data.alignments import write_alignments
from asr.data.sets import SET_ASIDE, told_aside, write_set_aside
from asr.errors import InputError
from asr.features.frontend import FrontEnd
from asr.files import atomic_write, keep_inputs, moved_into
from asr.fingerprints import digest
from asr.hmm.corpus import load, phones_of
from asr.hmm.mixtures import to_output
from asr.hmm.model import Hmm
from asr.hmm.resume import RESUME, ResumePoint
from asr.hmm.stages import Trained, check_stages, train_stages
from asr.hmm.training import Stage
from asr.models.acoustic import AcousticModel
from asr.states import HMM_FILE
from asr.text.lexicon import Lexicon, name_some
from asr.training import checkpoint
from asr.training.settings import GROUPS, TABLE, check_resumable, inputs_of, settings

ALIGNMENTS = "alignments.npz"
COMPLETE = ("config.json", TABLE, "final.safetensors", HMM_FILE, ALIGNMENTS)  # what every finished training has
WRITTEN = (*COMPLETE, SET_ASIDE, RESUME)
# What a training has to repeat to go on with an earlier one, or to find it done: groups of options, others, and files.
COMPARED = (
    ("features", "hmm"), ("data.max_audio_s", "data.channel"), ("data.train", "data.dev", "tokens.lexicon"),
)  # fmt: skip
_log = logging.getLogger(__name__)


def train_hmm(cfg: Config) -> Path:
    """Train the GMM-HMM that `cfg.hmm` describes on data.train; returns the path of the model. A training of
    the same data and options that was killed goes on after its last stage; one that has ended is kept as it is.

    Raises InputError if the folder holds the training of a net, or of HMMs with other options or data, and for data
    that cannot be used.
    """
    check_choices(cfg)
    cfg = _with_defaults(cfg)
    folder = Path(cfg.out) / "train"
    if (folder / "config.json").exists() and not (folder / ALIGNMENTS).exists():
        raise InputError(f"{folder} holds the training of a net; choose another folder with out=")
    check_resumable(folder / "config.json", cfg, *COMPARED)
    final = folder / "final.safetensors"
    if all((folder / name).exists() for name in COMPLETE):
        _log.info("already trained: %s; to train anew, delete %s or choose another folder with out=", final, folder)
        return final
    keep_inputs((folder / name for name in WRITTEN), inputs_of(cfg))
    if len(cfg.hmm.silence.split()) != 1:
        raise InputError(f"hmm.silence={cfg.hmm.silence!r} is not the name of a phone; name one that no word contains")
    if not cfg.tokens.lexicon:
        raise InputError("HMMs need a lexicon of phones: tokens.lexicon=FILE")
    check_stages(cfg.hmm, cfg.features.deltas)
    lexicon = Lexicon.read(cfg.tokens.lexicon)
    aside: dict[str, str] = {}  # why an utterance is not used, by id
    if cfg.hmm.silence in lexicon.units():
        raise InputError(f"hmm.silence={cfg.hmm.silence} is a phone of words in {cfg.tokens.lexicon}; name another")
    frontend = FrontEnd(cfg.features).eval()
    corpus = load(cfg, frontend, lexicon, aside)
    phones = phones_of(corpus.words[: corpus.own], lexicon)
    hmm = Hmm.monophone([*phones, cfg.hmm.silence], cfg.hmm.silence, cfg.hmm.states, cfg.hmm.scale)
    trained = train_stages(cfg.hmm, hmm, corpus, lexicon, ResumePoint.of(cfg, hmm, corpus))
    return _write(cfg, folder, frontend, trained, aside)


def _with_defaults(cfg: Config) -> Config:
    """Defaults for what has no part in this training: config.json records them."""
    tokens = dataclasses.replace(cfg.tokens, unit="phone")
    return dataclasses.replace(
        cfg,
        tokens=tokens,
        augment=AugmentConfig(),
        criterion=CriterionConfig(),
        optim=OptimConfig(),
        seed=Config().seed,
    )


def _write(cfg: Config, folder: Path, frontend: FrontEnd, trained: Trained, aside: dict[str, str]) -> Path:
    stage = trained.stage
    paths = {stage.corpus.ids[number]: stage.paths[number] for number in stage.corpus.recorded}
    found = {id: path for id, path in paths.items() if path is not None}
    short = [id for id in paths if id not in found]
    aside |= dict.fromkeys(short, "too few frames for the states of its phones")
    layer = stage.output_layer()
    net = ModelConfig(
        kind="gmm", subsampling=1, gaussians=layer.log_weights.shape[1], splice=cfg.hmm.splice,
        projected=len(trained.spliced.matrix) if trained.spliced else 0, speakers=cfg.hmm.speakers,
    )  # fmt: skip
    model = AcousticModel(cfg.features, net, len(stage.hmm.tokens))
    model.frontend, model.net.output = frontend, layer
    if trained.spliced:
        model.net.project = trained.spliced.layer()
    if trained.plain:
        model.net.output, model.net.adapted = to_output(trained.plain, len(stage.hmm.tokens), stage.hmm.scale), layer
    with moved_into(folder, stale=[RESUME]) as new:
        stage.hmm.tokens.write(new / TABLE)
        stage.hmm.write(new / HMM_FILE)
        write_alignments(new / ALIGNMENTS, found)
        checkpoint.write_tensors(new / "final.safetensors", model.state_dict())
        write_set_aside(new, aside)
        data = settings(dataclasses.replace(cfg, model=net), (*GROUPS, "hmm"))
        data["sha256"][TABLE] = digest(new / TABLE)
        with atomic_write(new / "config.json") as file:
            json.dump(data, file, indent=1)
    _report(stage, aside, folder)
    return folder / "final.safetensors"


def _report(stage: Stage, aside: dict[str, str], folder: Path) -> None:
    mixtures = sum(map(len, stage.mixtures.values()))
    _log.info(
        "%d outputs, %d Gaussians, ln p %.2f per frame", len(stage.hmm.tokens) - 1, mixtures, stage.log_likelihood
    )
    if aside:
        _log.warning("%s", told_aside(folder, aside))
    if unheard := stage.unheard():
        _log.warning("%d outputs are in no alignment and recognise nothing well: %s", len(unheard), name_some(unheard))
