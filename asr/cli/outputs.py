"""The files that a verb writes: none of them may be an input, and replacing another result is reported."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asr import fingerprints
from asr.cli.flywheel_verbs import page_path
from asr.cli.reads import declared, read_by
from asr.cli.report_verbs import report_path
from asr.cli.version_verbs import decision_path
from asr.config import Config, value_of
from asr.errors import InputError
from asr.files import keep_inputs
from asr.remote import is_remote
from asr.streams import is_stream

_WRITTEN = {  # options that name an output, for all verbs or for one
    "": ("output", "lm.unknown"),
    "lm train": ("lm.arpa", "lm.net"),
    "bundle": ("bundle",),
}
# Their output may be a folder.
_INTO_FOLDERS = ("data check", "data shard", "transcribe", "export", "align", "align long")
_GRAPH = ("tokens.txt", "lexicon.txt", "words.txt", "graph.bin", "tree.bin", "lm.ngram")


@contextmanager
def guarded(verb: str, cfg: Config) -> Iterator[None]:
    """Raises InputError before the verb runs if it would overwrite an input; reports afterwards what it replaced."""
    _check_names(verb, cfg)
    written = results(verb, cfg)
    if folder := next((path for path in written if path.is_dir()), None):
        raise InputError(f"{folder} is a folder; name a file to write")
    keep_inputs(written, _options(verb, cfg))
    existing = [path for path in written if path.exists() and not is_stream(path)]
    if existing:
        keep_inputs(existing, _found(verb, cfg))
        if verb == "data import":
            _check_corpus(existing, cfg)
    before = {path: (fingerprints.digest(path), path.stat().st_mtime) for path in existing}
    yield
    for path, (digest, time_s) in before.items():
        if fingerprints.digest(path) not in (digest, None):
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(time_s))
            print(f"replaced {path} of {date}, which had other content", file=sys.stderr)


def _check_names(verb: str, cfg: Config) -> None:
    """Raises InputError for an empty name, as `output=$UNSET` gives, and for a folder where a file is written."""
    for name in (*_WRITTEN[""], "out", "data.tars", "flywheel.sounds"):
        if value_of(cfg, name) == "":
            raise InputError(f"{name}= is empty; name a place, or leave it out")
    for name in (*_WRITTEN[""], "out"):
        if is_remote(str(value_of(cfg, name))) and not (verb == "transcribe" and name == "output"):
            raise InputError(f"{name}={value_of(cfg, name)}: results are written to files; name one, and copy it there")
    for name in (*_WRITTEN[""], *_WRITTEN.get(verb, ())):
        if verb not in _INTO_FOLDERS and str(value_of(cfg, name)).endswith("/"):
            raise InputError(f"{name}={value_of(cfg, name)} is the name of a folder; name a file to write")


def results(verb: str, cfg: Config) -> list[Path]:
    """The files that a verb writes, as far as its options name them; `train` and `data check` check their own."""
    out, graph = Path(cfg.out), Path(cfg.graph.dir)
    if verb == "decode":
        from asr.pipeline import hypotheses_path

        return [hypotheses_path(cfg, cfg.input[0] if cfg.input else None, cfg.output)]
    if verb == "lm convert":
        return _with_words(Path(cfg.input[1])) if len(cfg.input) == 2 else []
    if verb == "transcribe":
        from asr.cli.transcripts import file_of

        return [path] if (path := file_of(cfg)) else []
    if verb in ("align", "align long"):
        return _aligned(cfg)
    if verb == "score":
        from asr.evaluation import report  # loads matplotlib

        return [Path(cfg.score.dir) / name for name in report.FILES]
    if verb in ("train", "data check"):
        return []
    if verb == "data shard":
        from asr.data.shards import MANIFEST, SET_ASIDE

        return [Path(cfg.output, name) for name in (MANIFEST, SET_ASIDE)] if cfg.output else []
    if verb == "hmm train":
        from asr.hmm.run_folder import WRITTEN

        return [out / "train" / name for name in WRITTEN]
    if verb == "import":
        return [Path(cfg.output) if cfg.output else out / "train" / "imported.asr"]
    if verb == "export":
        from asr.recognizer.export_folder import FILES

        return [Path(cfg.output, name) for name in FILES] if cfg.output else []
    fixed = {
        "lm train": [Path(cfg.lm.net if cfg.lm.kind == "neural" else cfg.lm.arpa)],
        "graph": [] if cfg.graph.forecast else [graph / name for name in _GRAPH],
        "tune": [out / "tune.json"],
        "calibrate": [out / "calibration.json", out / "calibration.png"],
        "bundle": [Path(cfg.bundle)],
        "report": [report_path(cfg)],
        "flywheel report": [page_path(cfg)],
        "flywheel retrain": [out / "model.asr"],
        "flywheel promote": [decision_path(cfg)],
    }
    if verb in fixed:
        return fixed[verb]
    named = [Path(name) for name in (cfg.output, cfg.lm.unknown) if name]
    if verb == "text clean" and cfg.output:
        named.append(Path(f"{cfg.output}.report.json"))
    if verb == "lexicon fit" and cfg.output:
        named.append(Path(f"{cfg.output}.changes.tsv"))
    return [path for name in named for path in (_with_words(name) if verb.startswith("lm ") else [name])]


def _aligned(cfg: Config) -> list[Path]:
    """The alignments and the list of suspicious ones; the TextGrids of a folder are checked by the verb."""
    from asr.align.files import names_folder, report_path

    if cfg.output is None:
        return []
    return [report_path(cfg.output), *([] if names_folder(cfg.output) else [Path(cfg.output)])]


def _with_words(path: Path) -> list[Path]:
    """An OpenFst file is written with a list of its words."""
    return [path, path.with_suffix(".words.txt")] if path.suffix == ".fst" else [path]


def _options(verb: str, cfg: Config) -> Iterator[str]:
    """The files that the options of a verb name as inputs."""
    outputs = _WRITTEN[""] + _WRITTEN.get(verb, ())
    for name, option in declared(verb).items():
        if option.is_text and not option.choices and name not in outputs:
            value = value_of(cfg, name)
            values = value[:1] if verb == "lm convert" else value if isinstance(value, list) else [value]
            yield from (item for item in values if item and os.path.isfile(item))


def _found(verb: str, cfg: Config) -> Iterator[str | Path | None]:
    """The files that a verb finds through its options: the net, the graph, and the recordings of manifests."""
    from asr import manifest

    if "out" in read_by(verb, {}) and verb not in ("train", "hmm train", "import"):
        yield from Path(cfg.out, "train").glob("*")
    if "graph.dir" in declared(verb) and verb != "graph":
        yield from Path(cfg.graph.dir).glob("*.*")
    for path in _options(verb, cfg):
        if manifest.is_manifest(path):
            with suppress(InputError):  # the verb reports it
                yield from (u.audio or u.features for u in manifest.stream(path, {}))


def _check_corpus(paths: list[Path], cfg: Config) -> None:
    """Raises InputError for a file in a folder that the verb reads, unless it is a manifest of an earlier run."""
    folders = [os.path.realpath(name) for name in cfg.input if os.path.isdir(name)]
    for path in paths:
        if any(os.path.realpath(path).startswith(folder + os.sep) for folder in folders) and not _is_manifest(path):
            raise InputError(f"{path} is part of the input, and no manifest; write to another file")


def _is_manifest(path: Path) -> bool:
    """Whether the first line is an utterance. Lines of other formats, such as lhotse's supervisions, are none."""
    from asr import manifest

    try:
        return next(manifest.stream(path), None) is not None
    except InputError:
        return False
