"""The verbs `asr data ...` and `asr features`: see asr/cli/verbs.py."""

from pathlib import Path

from asr.cli.inputs import needed_output, only_input
from asr.config import Config
from asr.errors import InputError


def data_import(cfg: Config) -> None:
    """Converts a corpus in the format of another toolkit to a manifest.

    asr data import CORPUS output=data/train.jsonl [kind=KIND]

    CORPUS is a Kaldi data folder, a lhotse cut manifest, a NeMo JSONL file, a Common Voice TSV, a CSV, or a folder
    of audio and text files with equal names. Without `kind`, the files of the corpus decide which it is.
    """
    from asr import manifest
    from asr.data.importers import import_corpus
    from asr.files import keep_inputs

    path = needed_output(cfg, "the manifest")
    utterances = import_corpus(only_input(cfg, "a corpus"), cfg.data.kind)
    if Path(path).exists():
        keep_inputs([path], (u.audio or u.features for u in utterances))
    manifest.write(path, utterances)
    print(f"{len(utterances)} utterances -> {path}")


def data_check(cfg: Config) -> None:
    """Checks a corpus: names bad utterances, writes cleaned manifests and a report.

    asr data check [MANIFEST ...] [output=FOLDER]

    Without MANIFEST it checks those of data.train, data.dev and data.test that exist, and that no recording is in
    two of them. With several manifests, each is checked against those before it. Reports are named after the manifests,
    with folders before the names where these are equal. The texts are checked against the
    tokens of tokens.table or of the trained net; without either, against the characters of the first manifest, the
    training set.
    """
    from asr import manifest
    from asr.data.check import check, written
    from asr.data.transcript import token_table
    from asr.files import distinct_names, keep_inputs
    from asr.recognizer import run_folder
    from asr.text.lexicon import Lexicon

    existing = [path for path in (cfg.data.train, cfg.data.dev, cfg.data.test) if Path(path).exists()]
    manifests = cfg.input or existing
    if not manifests:
        raise InputError(f"{cfg.data.train}, {cfg.data.dev} and {cfg.data.test} do not exist; name a manifest to check")
    tokens = run_folder.tokens(cfg)
    if tokens is None and cfg.tokens.unit != "phone" and manifests[0] == (cfg.input or [cfg.data.train])[0]:
        tokens = token_table((u.text for u in manifest.stream(manifests[0], {})), cfg.tokens.unit)
    folder, names = cfg.output or Path(cfg.data.dir) / "check", distinct_names(manifests)
    keep_inputs((file for name in names for file in written(folder, name)), manifests)
    for number, path in enumerate(manifests):
        report = check(
            path,
            folder,
            tokens,
            cfg.tokens.unit,
            Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None,
            cfg.features.shift_ms / 1000 * cfg.model.subsampling,
            against=manifests[:number] if cfg.input else manifests[number + 1 :],
            sample_rate_hz=cfg.features.sample_rate_hz,
            feature_shift_s=cfg.features.shift_ms / 1000,
            feature_dim=cfg.features.num_bins,
            workers=cfg.data.workers or None,
            name=names[number],
        )
        print(report.table())


def features(cfg: Config) -> None:
    """Computes the features of a manifest and stores them.

    asr features MANIFEST output=exp/features/train.jsonl features=mfcc

    Train on the written manifest with features=stored and num_bins=VALUES_PER_FRAME.
    """
    from asr.data.extract import extract

    extract(only_input(cfg, "a manifest"), needed_output(cfg, "the manifest"), cfg)
