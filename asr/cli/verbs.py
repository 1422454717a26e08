"""The verbs: plain functions from a `Config` to files and printed lines. Each imports its room when it runs.

A verb's docstring is its help: the first line stands in `asr --help`, the rest in `asr VERB --help`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from asr.cli import run_folder
from asr.cli.data_verbs import data_check, data_import, features
from asr.cli.lm_verbs import lm_adapt, lm_convert, lm_filter, lm_mix, lm_ppl, lm_prune, lm_train, lm_vocabulary
from asr.cli.recognizer_verbs import bundle, calibrate, decode, graph, score, tune
from asr.cli.text_verbs import g2p_apply, g2p_train, lexicon, text_clean
from asr.cli.transcribe import transcribe
from asr.config import Config

FLAGS = ("--help", "--multirun", "--config-dir", "--cfg")


def train(cfg: Config) -> None:
    """Trains the acoustic model; the same command again resumes a training that was stopped."""
    from asr.training.trainer import train

    train(cfg)


def doctor(cfg: Config) -> None:
    """What this machine has and lacks: Python, torch, extensions, libraries, formats, data."""
    from asr.cli.doctor import report

    print(report(cfg.data.root))


@dataclass(frozen=True)
class Verb:
    """`home` lists the groups in which a bare key is looked up. `earlier` gives overrides that verbs before this one
    found; they stand before those of the command line. `takes_bundle`: the first *.asr file is the model.
    `starts_run`: each job of a sweep gets a run folder of its own.
    """

    run: Callable[[Config], None]
    home: tuple[str, ...] = ()
    earlier: Callable[[Config], list[str]] | None = None
    takes_bundle: bool = False
    starts_run: bool = False


VERBS: dict[str, Verb] = {
    "data import": Verb(data_import, ("data",)),
    "data check": Verb(data_check, ("data", "tokens", "features", "model")),
    "features": Verb(features, ("features", "data")),
    "train": Verb(train, ("optim", "model", "features", "augment", "criterion", "tokens", "data"), starts_run=True),
    "text clean": Verb(text_clean, ("text",)),
    "lexicon": Verb(lexicon, ("g2p", "data")),
    "g2p train": Verb(g2p_train, ("g2p",)),
    "g2p apply": Verb(g2p_apply, ("g2p",)),
    "lm train": Verb(lm_train, ("lm",)),
    "lm ppl": Verb(lm_ppl, ("lm", "data")),
    "lm prune": Verb(lm_prune, ("lm",)),
    "lm mix": Verb(lm_mix, ("lm", "data")),
    "lm adapt": Verb(lm_adapt, ("lm", "data")),
    "lm filter": Verb(lm_filter, ("lm",)),
    "lm convert": Verb(lm_convert, ("lm",)),
    "lm vocabulary": Verb(lm_vocabulary, ("lm", "data")),
    "graph": Verb(graph, ("graph", "lm", "tokens")),
    "decode": Verb(decode, ("decoder", "graph", "data"), earlier=run_folder.tuned),
    "tune": Verb(tune, ("decoder", "graph", "data")),
    "calibrate": Verb(calibrate, ("decoder", "graph", "data"), earlier=run_folder.tuned_scales),
    "score": Verb(score, ("score", "data")),
    "bundle": Verb(bundle, ("decoder", "graph"), earlier=run_folder.tuned),
    "transcribe": Verb(transcribe, ("decoder", "graph", "data"), earlier=run_folder.bundled, takes_bundle=True),
    "doctor": Verb(doctor, ("data",)),
}
