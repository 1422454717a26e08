"""What a run folder holds about its training and its results."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asr import hypothesis, manifest
from asr.config import Config
from asr.errors import InputError
from asr.evaluation.score import Score, score
from asr.evaluation.texts import read_pair
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.pipeline import hypotheses_path
from asr.recognizer import run_folder, sources


@dataclass
class Run:
    """The results of one run folder on one manifest. `hypotheses` is empty where those are texts without times."""

    cfg: Config
    reference: str
    score: Score
    hypotheses: dict[str, Hypothesis]
    utterances: dict[str, Utterance] = field(default_factory=dict)


def read_run(cfg: Config) -> Run:
    """The hypotheses of `asr decode` for `cfg.split`, scored. Raises InputError if they or the references are
    missing."""
    cfg = run_folder.with_manifests(cfg, cfg.split)
    reference, path = getattr(cfg.data, cfg.split), hypotheses_path(cfg, None, None)
    if not path.exists():
        raise InputError(f"there are no hypotheses {path}; run `asr decode out={cfg.out} split={cfg.split}`")
    sources.check(path, reference, f"decode {reference}, or name that manifest with data.{cfg.split}=FILE")
    refs, hyps = read_pair(reference, path)
    found = score(refs.texts, hyps.texts, refs.speakers, cfg.score.resamples, cfg.seed, cfg.score.lang)
    utterances = {u.id: u for u in manifest.read(reference)}
    return Run(cfg, reference, found, {h.id: h for h in hypothesis.read(path)}, utterances)


def read_other(cfg: Config, folder: str) -> Run:
    """The run to compare with: on its own references, or if it has none, on those of `cfg`.

    Raises InputError as `read_run` does, and if it is the same run.
    """
    if Path(folder).resolve() == Path(cfg.out).resolve():
        raise InputError(f"report.other={folder} is the run itself; name another run folder")
    if not Path(folder).is_dir():
        raise InputError(f"there is no run folder {folder}; check report.other")
    other = run_folder.with_manifests(Config(out=folder, split=cfg.split, seed=cfg.seed, score=cfg.score), cfg.split)
    if not Path(getattr(other.data, cfg.split)).exists():
        other = replace(other, data=cfg.data)
    return read_run(other)


def read_options(folder: Path) -> str:
    """The recorded options of the training, as text. Raises InputError if there are none."""
    path = folder / "train" / "config.json"
    if not path.exists():
        raise InputError(f"there is no {path}; `asr train` writes it")
    return path.read_text(encoding="utf-8", errors="replace")
