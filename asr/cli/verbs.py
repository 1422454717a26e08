"""The verbs: plain functions from a `Config` to files and printed lines. Each imports its room when it runs.

A verb's docstring is its help: `asr --help` shows its first line, `asr VERB --help` the rest.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from asr import pipeline
from asr.cli import earlier, flywheel_verbs, transcription_verbs, version_verbs
from asr.cli.align_verbs import align, align_long
from asr.cli.data_verbs import data_check, data_import, data_label, data_shard, features
from asr.cli.inputs import needed_output, only_input
from asr.cli.lm_verbs import (
    lm_adapt,
    lm_convert,
    lm_count,
    lm_filter,
    lm_mix,
    lm_ppl,
    lm_prune,
    lm_train,
    lm_vocabulary,
)
from asr.cli.model_verbs import model
from asr.cli.punctuation_verbs import punctuation_apply, punctuation_score, punctuation_train
from asr.cli.recognizer_verbs import bundle, calibrate, decode, export, graph, import_model, score, tune
from asr.cli.report_verbs import report
from asr.cli.serve_verbs import feedback_export, keys_add, keys_list, keys_revoke, serve
from asr.cli.text_verbs import g2p_apply, g2p_train, lexicon, lexicon_fit, text_clean, text_split, text_write
from asr.cli.transcribe import transcribe
from asr.config import Config

FLAGS = ("--help", "--multirun", "--config-dir", "--cfg", "--microphone")


def train(cfg: Config) -> None:
    """Trains the acoustic model; the same command again resumes a training that was stopped."""
    pipeline.train(cfg)


def hmm_train(cfg: Config) -> None:
    """Trains HMMs with Gaussian mixtures: monophones, states in context, LDA and MLLT, adaptation to speakers.

    asr hmm train tokens.lexicon=LEXICON features=mfcc features.deltas=2 features.cmvn=utterance [hmm=mono|tri]
    asr hmm train tokens.lexicon=LEXICON features=mfcc features.deltas=0 features.cmvn=utterance hmm=lda_mllt|sat

    The run folder is then that of a trained model: `asr graph`, `tune`, `decode`, `score` and `bundle` follow.
    `out`/train/alignments.npz says which HMM state each frame of the training and the dev set belongs to.
    """
    print(f"-> {pipeline.train_hmm(cfg)}")


def hmm_features(cfg: Config) -> None:
    """Stores the features of a manifest that HMMs score, adapted to each speaker, for the training of a net on them.

    asr hmm features MANIFEST output=exp/adapted/train.jsonl out=exp/sat

    `out` is the run folder of `asr hmm train`, with its graph. Behind hmm=sat the features are adapted to each speaker
    of the manifest as `asr decode` does it, by the words that a first pass finds. Store those of the training, dev and
    test set; then train, tune and decode on them with features=stored, num_bins=VALUES_PER_FRAME and cmvn=none.
    """
    from asr.recognizer.adapted_features import write_features

    source, output = only_input(cfg, "a manifest"), needed_output(cfg, "the manifest")
    print(f"-> {write_features(pipeline.open_recognizer(cfg), source, output)}")


def doctor(cfg: Config) -> None:
    """Reports Python, torch, extensions, libraries and audio formats, and how to install what is missing."""
    from asr.cli.doctor import report

    print(report(cfg.data.root))


@dataclass(frozen=True)
class Verb:
    """A verb and what it reads.

    `reads`: the options that have an effect on the verb, by full name, or whole groups. Others are refused. A bare key
    means the first of them that ends in it. `earlier`: returns the overrides that earlier verbs found, given the names
    of those of the command line, which take precedence. `takes_bundle`: the first *.asr file is the model.
    `starts_run`: each job of a sweep gets a separate run folder. `resumes`: the same command continues after an
    interruption; a string says from where, if not from where it stopped. `figure`: what a sweeper minimises, read from
    the files of a run that has ended. `formats`: the choices of the option `format` that the verb can write.
    """

    run: Callable[[Config], None]
    reads: tuple[str, ...] = ()
    earlier: Callable[[Config, Collection[str]], list[str]] | None = None
    takes_bundle: bool = False
    starts_run: bool = False
    resumes: bool | str | Callable[[Config], bool] = False
    figure: Callable[[Config], float | None] | None = None
    formats: tuple[str, ...] = ()


_RECOGNISER = (
    "decoder", "graph.kind", "graph.words", "graph.grammar", "graph.dir", "graph.ngram", "graph.lexicon",
    "graph.silence", "g2p.model", "g2p.nbest", "g2p.min_probability", "new_words", "fill_slots", "data.max_audio_s",
    "data.channel", "features.encoder", "out", "device", "threads",
)  # fmt: skip
_FIRST_PASS = (  # opens a recogniser, but keeps no words
    *(f"decoder.{name}" for name in (
        "kind", "beam", "max_active", "min_active", "acoustic_scale", "word_penalty", "blank_penalty", "blank_skip",
        "lattice_beam", "nbest", "mbr", "rescore", "confusion", "confidence_scale", "confidence_offset",
        "confidence_clarity", "calibrated_for", "pad_s",
    )), "graph.kind", "graph.words", "graph.grammar", "graph.dir", "graph.ngram", "graph.lexicon", "tokens.lexicon",
    "new_words", "fill_slots", "data.max_audio_s", "data.channel", "features.encoder", "out", "device", "threads",
)  # fmt: skip
_STATIC_FEATURES = tuple(f"features.{name}" for name in (  # without derivatives and normalisation
    "kind", "encoder", "layer", "sum_layers", "sample_rate_hz", "window_ms", "shift_ms", "num_bins", "num_ceps",
    "low_hz", "high_hz", "dither", "floor",
))  # fmt: skip
_ALIGNER = (
    "align.lead_s", "align.tail_s", "align.min_score", "graph.lexicon", "graph.silence", "g2p.model", "g2p.nbest",
    "g2p.min_probability", "data.max_audio_s", "data.channel", "bundle", "out", "device", "threads",
)  # fmt: skip
_OF_ALIGNMENTS = ("auto", "jsonl", "ctm", "textgrid")
_CLEANING = tuple(f"text.{name}" for name in (
    "numbers", "latin", "repairs", "slots", "max_foreign", "max_repeats",
))  # fmt: skip

_LOG = ("serve.log", "serve.log_database", "flywheel.since", "flywheel.until")

VERBS: dict[str, Verb] = {
    "data import": Verb(data_import, ("data.kind", "input", "output")),
    "data check": Verb(data_check, (
        "data.train", "data.dev", "data.test", "data.replay", "data.general_dev", "data.dir", "data.channel",
        "data.workers", "data.max_audio_s", "tokens", "features.kind", "features.shift_ms", "features.sample_rate_hz",
        "features.num_bins", "model.subsampling", "out", "input", "output", "bulk.launcher", "bulk.address",
    )),
    "data shard": Verb(data_shard, ("data.tars", "data.tar_mb", "data.channel", "seed", "input", "output")),
    "data label": Verb(data_label, ("data.min_confidence", "input", "output")),
    "features": Verb(features, (
        *_STATIC_FEATURES, "data.max_audio_s", "data.channel", "input", "output", "threads", "bulk",
    ), resumes=True),
    "train": Verb(train, (
        "optim", "model", "features", "augment", "criterion", "tokens", "data.train", "data.dev", "data.replay",
        "data.replay_share", "data.general_dev", "data.max_audio_s", "data.channel", "data.cache", "data.workers",
        "init", "out", "seed", "threads", "device",
    ), earlier=earlier.started, starts_run=True, resumes=True, figure=pipeline.dev_errors),
    "hmm train": Verb(hmm_train, (
        "hmm", "features", "tokens.lexicon", "data.train", "data.dev", "data.max_audio_s", "data.channel", "out",
        "threads",
    ), starts_run=True, resumes="after the last stage that it finished"),
    "hmm features": Verb(hmm_features, (*_FIRST_PASS, "adapt", "input", "output"), earlier=earlier.tuned_scales),
    "model": Verb(model, ("model", "features", "input")),
    "import": Verb(import_model, ("input", "output", "out")),
    "text clean": Verb(text_clean, (*_CLEANING, "text.lang", "text.paragraphs", "input", "output")),
    "text split": Verb(text_split, ("text.pieces", "input", "output")),
    "text write": Verb(text_write, ("text.lang", "input", "output")),
    "lexicon": Verb(lexicon, (
        "text.lang", "g2p.model", "g2p.tagger", "g2p.nbest", "g2p.min_probability", "data.train", "input", "output",
    )),
    "lexicon fit": Verb(lexicon_fit, (
        "graph.lexicon", "graph.silence", "data.train", "data.channel", "data.max_audio_s", "bundle", "out", "device",
        "threads", "input", "output",
    ), takes_bundle=True),
    "g2p train": Verb(g2p_train, ("g2p.order", "g2p.max_letters", "g2p.max_units", "input", "output")),
    "g2p apply": Verb(g2p_apply, (
        "g2p.model", "g2p.tagger", "g2p.nbest", "g2p.min_probability", "input", "output",
    )),
    "punctuation train": Verb(punctuation_train, ("punctuation.epochs", "seed", "threads", "input", "output")),
    "punctuation apply": Verb(punctuation_apply, ("punctuation.model", "text.lang", "input", "output")),
    "punctuation score": Verb(punctuation_score, ("punctuation.model", "punctuation.lines", "text.lang", "input")),
    "lm train": Verb(lm_train, (
        "lm.text", "lm.unit", "lm.order", "lm.arpa", "lm.vocabulary", "lm.min_count", "lm.vocabulary_size",
        "lm.coverage", "lm.prune", "lm.memory_mb", "lm.kind", "lm.net", "lm.hidden", "lm.layers", "lm.dropout", "lm.lr",
        "lm.batch", "lm.updates", "data.train", "data.dev", "seed", "threads", "input", "bulk.launcher", "bulk.workers",
        "bulk.address",
    ), resumes=lambda cfg: cfg.lm.kind == "neural" or cfg.threads != 1),
    "lm count": Verb(lm_count, (
        "lm.text", "lm.order", "lm.unit", "lm.memory_mb", "threads", "input", "output", "bulk",
    ), resumes=True),
    "lm ppl": Verb(lm_ppl, (
        "lm.arpa", "lm.unknown", "split", "data.train", "data.dev", "data.test", "input", "output",
    )),
    "lm prune": Verb(lm_prune, ("lm.arpa", "lm.size", "lm.threshold", "lm.marginals", "output")),
    "lm mix": Verb(lm_mix, ("lm.weights", "data.dev", "input", "output")),
    "lm adapt": Verb(lm_adapt, (
        "lm.base", "lm.text", "lm.size", "lm.min_count", "lm.lang", "data.dev", *_CLEANING, "output",
    )),
    "lm filter": Verb(lm_filter, ("lm.arpa", "lm.vocabulary", "output")),
    "lm convert": Verb(lm_convert, ("lm.lang", "lm.text", "input")),
    "lm vocabulary": Verb(lm_vocabulary, ("lm.text", "lm.size", "lm.min_count", "data.train", "output")),
    "graph": Verb(graph, (
        "graph.kind", "graph.dir", "graph.lexicon", "graph.silence", "graph.fillers", "graph.filler_cost",
        "graph.topology", "graph.draw_states", "graph.forecast", "graph.memory_mb", "graph.cache", "lm.arpa",
        "tokens.unit", "tokens.lexicon", "tokens.table", "out",
    ), resumes=True),
    "decode": Verb(decode, (
        *_RECOGNISER, "adapt", "data.train", "data.dev", "data.test", "split", "phrases", "boost", "boost_per_word",
        "input", "output",
    ), earlier=earlier.tuned),
    "tune": Verb(tune, (*_RECOGNISER, "adapt", "data.dev", "score.rate", "input")),
    "calibrate": Verb(calibrate, (*_RECOGNISER, "adapt", "data.dev", "input"), earlier=earlier.tuned_scales),
    "score": Verb(score, (
        "score.ref", "score.hyp", "score.dir", "score.resamples", "score.lang", "data.train", "data.dev", "data.test",
        "split", "out", "seed",
    )),
    "report": Verb(report, (
        "report", "score.resamples", "score.lang", "graph.lexicon", "data.channel", "data.max_audio_s", "data.train",
        "data.dev", "data.test", "split", "out", "seed", "output",
    )),
    "bundle": Verb(bundle, (
        "decoder", "graph.kind", "graph.dir", "bundle", "score.dir", "data.train", "features.encoder", "out", "device",
    ), earlier=earlier.tuned_decoder),
    "export": Verb(export, (
        "format", "bundle", "data.train", "data.dev", "data.test", "split", "input", "output",
    ), takes_bundle=True, formats=("auto", "onnx")),
    "align": Verb(align, (
        *_ALIGNER, "graph.fillers", "graph.filler_cost", "align.level", "format", "input", "output",
    ), takes_bundle=True, formats=_OF_ALIGNMENTS),
    "align long": Verb(align_long, (
        *_ALIGNER, "align.level", "align.longest_s", "format", "input", "output",
    ), earlier=earlier.unlimited, takes_bundle=True, formats=_OF_ALIGNMENTS),
    "transcribe": Verb(transcribe, (
        "decoder", "graph.kind", "graph.words", "graph.grammar", "g2p.model", "data.max_audio_s", "data.channel",
        "bundle", "phrases", "boost", "boost_per_word", "new_words", "fill_slots", "written", "punctuate",
        "spoken_language", "device", "threads", "input", "output", "format", "live", "bulk",
    ), earlier=earlier.bundled, takes_bundle=True, resumes=True,
        formats=("auto", "txt", "json", "jsonl", "srt", "vtt", "ctm", "textgrid")),
    "serve": Verb(serve, (
        "serve", "bundle", "g2p.model", "device", "threads", "boost",
    ), takes_bundle=True),
    "serve keys add": Verb(keys_add, ("serve.keys", "input")),
    "serve keys list": Verb(keys_list, ("serve.keys",)),
    "serve keys revoke": Verb(keys_revoke, ("serve.keys", "input")),
    "serve feedback export": Verb(feedback_export, ("serve.keys", "output")),
    "flywheel export": Verb(flywheel_verbs.export, (
        *_LOG, "flywheel.key", "flywheel.mode", "flywheel.part", "flywheel.transcribed", "flywheel.sounds",
        "output",
    )),
    "flywheel import": Verb(flywheel_verbs.take_back, ("serve.log", "serve.log_database", "input")),
    "flywheel delete": Verb(flywheel_verbs.delete, (*_LOG, "flywheel.key", "input")),
    "flywheel select": Verb(flywheel_verbs.select, (
        *_LOG, "flywheel.key", "flywheel.mode", "flywheel.minutes", "flywheel.random_share", "flywheel.known",
        "flywheel.sounds",
        "score.lang", "output",
    )),
    "flywheel transcribe": Verb(transcription_verbs.transcribe, (
        "flywheel.transcribers", "flywheel.double", "flywheel.clean", "flywheel.settle", "serve.host", "serve.port",
        "input",
    ), resumes=True),
    "flywheel agreement": Verb(transcription_verbs.agreement, ("score.resamples", "seed", "input", "output")),
    "flywheel report": Verb(flywheel_verbs.report, (
        *_LOG, "flywheel.mode", "flywheel.day_requests", "flywheel.false_alarms", "score.resamples", "score.lang",
        "seed", "output",
    )),
    "flywheel threshold": Verb(flywheel_verbs.threshold, (
        *_LOG, "flywheel.key", "flywheel.mode", "flywheel.part", "flywheel.wrong_cost", "flywheel.reject_cost",
        "score.lang", "seed",
    )),
    "flywheel retrain": Verb(version_verbs.retrain, (
        *_LOG, "flywheel.key", "flywheel.mode", "flywheel.parts", "flywheel.versions", "flywheel.test_days",
        "flywheel.half_life_days", "flywheel.least_requests", "optim", "model", "features", "augment", "criterion",
        "data.replay", "data.replay_share", "data.general_dev", "data.max_audio_s", "data.channel", "data.cache",
        "data.workers", "init", "lm.base", "lm.size", "lm.min_count", "g2p.model", "g2p.nbest",
        "g2p.min_probability", "graph.fillers", "graph.filler_cost", "graph.topology", "graph.memory_mb", "out",
        "seed", "threads", "device", "input",
    ), earlier=earlier.current, resumes=True),
    "flywheel promote": Verb(version_verbs.promote, (
        "bundle", "flywheel.versions", "flywheel.regressions", "flywheel.margin", "flywheel.half_life_days",
        "flywheel.least_requests", "data.train", "data.test", "data.max_audio_s", "data.channel", "score.rate",
        "score.lang", "score.resamples", "seed", "out", "threads", "device", "output",
    ), takes_bundle=True),
    "flywheel rollback": Verb(version_verbs.rollback, ("flywheel.versions", "input")),
    "flywheel versions": Verb(version_verbs.versions, ("flywheel.versions",)),
    "doctor": Verb(doctor, ("data.root",)),
}  # fmt: skip
