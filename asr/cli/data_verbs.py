"""The verbs `asr data ...` and `asr features`: see asr/cli/verbs.py."""

from dataclasses import replace
from pathlib import Path

from asr.cli.inputs import needed_output, only_input
from asr.config import Config
from asr.errors import InputError


def data_import(cfg: Config) -> None:
    """Converts a corpus in the format of another toolkit to a manifest.

    asr data import CORPUS output=data/train.jsonl [kind=KIND]

    CORPUS is a Kaldi data folder, a manifest of lhotse, NeMo or WeNet, a Common Voice TSV, a table or JSON lines with
    named columns, LJSpeech's metadata, Sphinx fileids, an STM file, or a folder of recordings with texts of equal
    names or with lists of transcripts, as in LibriSpeech. Without `kind`, the content decides which it is. Columns and
    files that are not used are named on stderr.
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


def data_shard(cfg: Config) -> None:
    """Packs the recordings of a manifest into tar files for a training that reads them from the beginning to the end.

    asr data shard MANIFEST output=FOLDER [tar_mb=1000] [tars=s3://bucket/folder]

    FOLDER gets shard-00000.tar, ..., each with the sounds, texts and fields of its utterances in an order drawn by
    `seed`, and manifest.jsonl, which names their places and takes the place of MANIFEST. Recordings are copied as they
    are; an utterance that is cut from a longer one becomes FLAC. What cannot be read is named in set_aside.jsonl.
    """
    from asr.data.shards import MANIFEST, SET_ASIDE, pack

    folder = Path(needed_output(cfg, "the folder of the shards"))
    source = only_input(cfg, "a manifest")
    found = pack(source, folder, cfg.data.tars, cfg.data.tar_mb * 1e6, cfg.seed, cfg.data.channel)
    if found.aside:
        first, why = next(iter(found.aside.items()))
        print(f"{len(found.aside)} utterances set aside, see {folder / SET_ASIDE}; the first is {first}: {why}")
    print(f"{found.utterances} utterances in {found.shards} shards -> {folder / MANIFEST}")


def data_check(cfg: Config) -> None:
    """Checks a corpus: names bad utterances, writes cleaned manifests and a report.

    asr data check [MANIFEST ...] [output=FOLDER]

    Without MANIFEST it checks those of data.train, data.dev, data.test, data.replay and data.general_dev that
    exist, and that no recording is in two of them. With several manifests, each is checked against those before it.
    The texts are checked against the tokens of tokens.table or of the trained net, in its unit; without either,
    against the phones of tokens.lexicon, or the characters of the first manifest, the training set. What training
    would set aside is named here. Manifests of equal names get reports with their folders in the name. The exit
    code is 2 if nothing of a manifest is kept.

    `launcher=ray` divides the utterances among workers of Ray, `workers` of them, here or on the cluster at `address`;
    the report is the same.
    """
    from asr import manifest
    from asr.cli.launchers import check_bulk, pool
    from asr.data.check import check, written
    from asr.data.report_names import report_names
    from asr.data.transcript import token_table
    from asr.files import keep_inputs
    from asr.recognizer import run_folder
    from asr.text.lexicon import Lexicon
    from asr.tokens import BLANK, Tokens

    data = cfg.data
    bulk = replace(cfg.bulk, workers=data.workers if cfg.bulk.launcher == "ray" else 0)
    check_bulk(bulk)
    sets = (data.train, data.dev, data.test, data.replay, data.general_dev)
    existing = [path for path in sets if path and Path(path).exists()]
    manifests = cfg.input or existing
    if not manifests:
        raise InputError(f"{cfg.data.train}, {cfg.data.dev} and {cfg.data.test} do not exist; name a manifest to check")
    trained = Path(cfg.out) / "train"
    if not cfg.tokens.table and (trained / "tokens.txt").exists() and (trained / "config.json").exists():
        cfg = run_folder.as_trained(cfg)  # its tokens need its unit and lexicon
    lexicon = Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None
    tokens = run_folder.tokens(cfg)
    if tokens is None and cfg.tokens.unit == "phone" and lexicon:
        tokens = Tokens([BLANK, *lexicon.units()])
    if tokens is None and cfg.tokens.unit != "phone" and manifests[0] == (cfg.input or [cfg.data.train])[0]:
        texts = [u.text for u in manifest.stream(manifests[0], {}) if u.text]
        tokens = token_table(texts, cfg.tokens.unit, size=cfg.tokens.size) if texts else None
    folder = cfg.output or Path(cfg.data.dir) / "check"
    names = report_names(manifests, folder)
    keep_inputs((file for name in names for file in written(folder, name)), manifests)
    lost = []
    with pool(replace(cfg, threads=1, bulk=bulk)) as by_ray:
        for number, (path, name) in enumerate(zip(manifests, names, strict=True)):
            report = check(
                path,
                folder,
                tokens,
                cfg.tokens.unit,
                lexicon,
                cfg.features.shift_ms / 1000 * cfg.model.subsampling,
                against=manifests[:number] if cfg.input else manifests[number + 1 :],
                sample_rate_hz=cfg.features.sample_rate_hz,
                feature_shift_s=cfg.features.shift_ms / 1000,
                feature_dim=cfg.features.num_bins if cfg.features.kind == "stored" else None,
                workers=cfg.data.workers or None,
                max_audio_s=cfg.data.max_audio_s,
                channel=cfg.data.channel,
                name=name,
                pool=by_ray,
            )
            print(report.table())
            lost += [] if report.kept else [path]
    if lost:
        raise InputError(f"{', '.join(lost)}: 0 utterances kept; the report above gives the reasons")


def data_label(cfg: Config) -> None:
    """Takes the transcripts of a recogniser that it is sure of as texts to train on.

    asr transcribe MODEL.asr MANIFEST output=HYP.jsonl
    asr data label HYP.jsonl MANIFEST [MANIFEST ...] output=data/more.jsonl [min_confidence=0.8]

    Utterances of the manifests that have a text keep it. The others get that of HYP.jsonl, which `asr transcribe` or
    `asr decode` wrote, if the mean confidence of its words is at least `min_confidence`, and are left out otherwise.
    Confidences are the probabilities of being right only behind `asr calibrate`. The field `confidence` marks the new
    texts. Transcribe without `written` and `punctuate`, so that the texts are as spoken.
    """
    from asr import hypothesis, manifest
    from asr.data.label import label
    from asr.files import keep_inputs

    path = needed_output(cfg, "the manifest")
    if len(cfg.input) < 2:
        raise InputError("asr data label needs a file of hypotheses and a manifest: asr data label hyp.jsonl a.jsonl")
    keep_inputs([path], cfg.input)
    hypotheses, *manifests = cfg.input
    utterances = [u for given in manifests for u in manifest.read(given)]
    found = label(utterances, hypothesis.read(hypotheses), cfg.data.min_confidence)
    manifest.write(path, found.utterances)
    print(f"{found.table()}-> {path}")


def features(cfg: Config) -> None:
    """Computes the features of a manifest and stores them.

    asr features MANIFEST output=exp/features/train.jsonl features=mfcc

    Train on the written manifest with features=stored and num_bins=VALUES_PER_FRAME. `asr train features=pretrained`
    stores the outputs of the encoder by itself.

    `launcher=ray` divides the utterances among workers of Ray, here or on the cluster at `address`, which write the
    same features to the same folder.
    """
    from asr.cli.launchers import pool
    from asr.data.extract import extract

    source, output = only_input(cfg, "a manifest"), needed_output(cfg, "the manifest")
    with pool(cfg) as by_ray:
        extract(source, output, cfg, pool=by_ray)
