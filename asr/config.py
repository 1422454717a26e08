"""Every option: its type, default, help text and allowed values. The yaml files in `conf/` only choose values.

One `Config` serves all verbs, so that one experiment file describes a recogniser from data to service.

    cfg = Config(out="exp/my", model=ModelConfig(kind="cnn"))
    cfg.graph.dir  # "exp/my/graph"

A default may refer to another option, as `"${out}/graph"` does. In yaml files Hydra resolves such references; in Python
`Config` resolves them when it is made, so set `out` then and not later.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from asr.augment_options import AugmentConfig
from asr.bounds import complaint
from asr.bulk_options import BulkConfig
from asr.declaration import REFERENCE, Options, option
from asr.errors import InputError, nearest
from asr.flywheel_options import FlywheelConfig
from asr.model_options import CriterionConfig, HmmConfig, ModelConfig, OptimConfig
from asr.search_options import AdaptConfig, DecoderConfig, LiveConfig
from asr.serve_options import ServeConfig


@dataclass
class DataConfig(Options):
    kind: str = option(
        "auto",
        "format of the corpus that `asr data import` reads; auto recognises it from its files",
        [
            "auto", "kaldi", "lhotse", "nemo", "wenet", "common_voice", "table", "ljspeech", "folder", "transcripts",
            "sphinx", "stm",
        ],
    )  # fmt: skip
    root: str | None = option(None, "folder with the raw corpora; null: $ASR_DATA, then a download from the source")
    dir: str = option("${out}/data", "folder of the manifests")
    train: str = option("${data.dir}/train.jsonl", "training manifest")
    dev: str = option("${data.dir}/dev.jsonl", "dev manifest: selects checkpoints and tunes the decoder")
    test: str = option("${data.dir}/test.jsonl", "test manifest: for reports, never for tuning")
    replay: str | None = option(None, "manifest of general speech, part of which is trained on again in each epoch")
    replay_share: float = option(0.3, "share of an epoch's seconds that is drawn from data.replay", within="[0, 1)")
    general_dev: str | None = option(
        None, "manifest of general speech on which the training may not become worse than `init`"
    )
    max_audio_s: float = option(
        60.0, "longest recording in seconds; longer ones are set aside and named", within="(0, inf]"
    )
    min_confidence: float = option(
        0.8, "least mean confidence of a hypothesis that becomes a text to train on", within="[0, 1]"
    )
    channel: int | None = option(
        None,
        "channel of recordings with several, counted from 0; null: their mean; a manifest's `channel` comes first",
        within="[0, 1023]",
    )
    cache: bool = option(True, "keep decoded audio in memory as 16-bit samples; has no effect with workers")
    workers: int = option(0, "number of processes that read audio", within="[0, 1024]")
    tars: str | None = option(
        None, "folder, or URL of an object store, for the tar files of `asr data shard`; null: that of their manifest"
    )
    tar_mb: float = option(1000.0, "largest size of a tar file in MB (10^6 bytes)", within="(0, 1e6]")


@dataclass
class TokensConfig(Options):
    unit: str = option(
        "char",
        "unit that the net outputs; piece: parts of words as SentencePiece finds them",
        ["char", "jamo", "phone", "piece"],
    )
    size: int = option(1000, "pieces of a table that is learned from the training text", within="[2, 1e6]")
    lexicon: str | None = option(None, "pronunciation lexicon, one `word unit unit ...` per line; required for phones")
    table: str | None = option(None, "token table; null builds one from the lexicon or the training text")


@dataclass
class FeaturesConfig(Options):
    kind: str = option(
        "logmel",
        "kind of features that the net reads",
        ["logmel", "mfcc", "loglinear", "wave", "stored", "pretrained"],
    )
    encoder: str | None = option(
        None, "folder, YAML file of an ONNX model, or hub name of the encoder (features=pretrained)"
    )
    layer: int | None = option(
        None, "layer of the encoder whose output is used, from 1; null: the last, normalised", within="[0, 256]"
    )
    sum_layers: list[int] = option(
        [], "layers of the encoder whose sum, with learned weights, is used instead of one", within="[0, 256]"
    )
    sample_rate_hz: int = option(16000, "sample rate; audio of other rates is resampled", within="[100, 384000]")
    window_ms: float = option(25.0, "length of a frame", within="[1, 1000]")
    shift_ms: float = option(10.0, "time from one frame to the next", within="[1, 1000]")
    num_bins: int = option(
        80, "number of filters (logmel, loglinear, mfcc), or dimension of stored features", within="[1, 8192]"
    )
    num_ceps: int = option(13, "number of cepstra per frame (mfcc)", within="[1, 8192]")
    low_hz: float = option(20.0, "lower edge of the first filter", within="[0, 192000]")
    high_hz: float = option(
        0.0, "upper edge of the last filter; 0 or less is relative to half the sample rate", within="[-192000, 192000]"
    )
    dither: float = option(0.0, "noise added in training, in units of 16-bit samples", within="[0, 32768]")
    floor: float = option(
        1.1920929e-07,
        "smallest energy of a filter, on the scale of 16-bit samples; raise it for digital silence",
        within="(0, 1e15]",
    )
    deltas: int = option(0, "number of time derivatives appended (mfcc and stored cepstra)", within="[0, 8]")
    cmvn: str = option(
        "speech",
        "mean and variance normalisation",
        ["none", "global", "utterance", "speech", "causal"],
        gone={"running": "replaced by causal, which digital silence does not spoil; train again with that"},
    )


@dataclass
class TextConfig(Options):
    lang: str = option("en", "language of the texts", ["en", "ko"])
    numbers: str = option("words", "numbers, units and abbreviations as spoken or as written", ["words", "digits"])
    latin: str = option(
        "letters", "Latin capitals in Korean text: spelled by letter names (TV: 티비), or kept", ["letters", "keep"]
    )
    repairs: list[str] = option([], "repairs to apply: case, markup, repeats, spacing, or files of wrong<TAB>right")
    slots: list[str] = option([], "marks such as <name> that are kept; requests fill them with words")
    paragraphs: bool = option(False, "lines are paragraphs: split them into sentences")
    pieces: str = option(
        "morphemes", "`asr text split`: morphemes (Korean), a tokens.txt of pieces, or a model of SentencePiece"
    )
    max_foreign: float = option(0.5, "drop a line with a larger fraction of letters of other scripts", within="[0, 1]")
    max_repeats: int = option(0, "keep at most this many copies of a sentence; 0 keeps all", within="[0, 1e9]")


@dataclass
class LmConfig(Options):
    text: list[str] = option([], "text files (plain or compressed), one sentence per line")
    unit: str = option("word", "words, or characters, which leave the vocabulary open (Korean)", ["word", "char"])
    order: int = option(3, "n-gram order, 1-8", within="[1, 8]")
    arpa: str = option("${out}/lm.arpa", "language model: written by `asr lm train`, read by the other verbs")
    vocabulary: str | None = option(None, "file of the words to keep; null keeps all")
    min_count: int = option(1, "words seen less often become <unk>", within="[1, 1e9]")
    vocabulary_size: int = option(0, "keep this many of the most frequent words; 0 keeps all", within="[0, 1e9]")
    coverage: float = option(
        1.0, "keep the most frequent words that together make up this fraction of the text", within="(0, 1]"
    )
    prune: list[int] = option(
        [], "drop n-grams seen at most this often, one count per order, as 0,1,2", within="[0, 1e9]"
    )
    memory_mb: int = option(
        500, "memory for the estimation; larger data goes to temporary files next to the model", within="[1, 1e9]"
    )
    base: str | None = option(None, "general model that `asr lm adapt` starts from")
    lang: str = option(
        "none",
        "language rules by which `asr lm adapt` cleans text (none leaves it unchanged); that of a Whisper",
        ["none", "en", "ko"],
    )
    weights: list[float] = option([], "weights of the models to mix; [] finds them on the dev text", within="[0, inf)")
    size: int | None = option(
        None, "number of n-grams (`asr lm vocabulary`: words) to keep; null sets no size", within="[1, 1e12]"
    )
    threshold: float | None = option(
        None, "prune n-grams whose loss raises the perplexity by a smaller relative amount, as 1e-8", within="[0, inf)"
    )
    marginals: str = option(
        "stationary", "how pruning weighs histories; product does as SRILM", ["stationary", "product"]
    )
    net: str = option("${out}/lm.safetensors", "neural language model: written by `asr lm train lm.kind=neural`")
    hidden: int = option(256, "hidden values per layer of a neural model", within="[1, 8192]")
    layers: int = option(1, "LSTM layers of a neural model", within="[1, 16]")
    dropout: float = option(0.1, "dropout of a neural model", within="[0, 1)")
    lr: float = option(3e-3, "highest learning rate of a neural model", within="(0, 1]")
    batch: int = option(2000, "words per batch of a neural model", within="[1, 1e7]")
    updates: int = option(20000, "most batches that a neural model is trained on", within="[1, 1e9]")
    unknown: str | None = option(None, "file in which `asr lm ppl` lists unknown words")
    kind: str = option("ngram", "n-gram model in an ARPA file, or an LSTM in `lm.net`", ["ngram", "neural"])


@dataclass
class G2pConfig(Options):
    order: int = option(8, "n-gram order over chunks of letters and units, 1-8", within="[1, 8]")
    max_letters: int = option(2, "most letters for one unit, as in `ph`", within="[1, 16]")
    max_units: int = option(3, "most units for one letter, as in `x`", within="[1, 16]")
    model: str = option(
        "default",
        "what pronounces words missing from a lexicon: default (English, or Korean for nets of Korean phones), ko "
        "(the rules of Korean), none, or the file of a model",
    )
    tagger: str = option(
        "none", "what tells verbs from nouns in Korean: kiwi (kiwipiepy); none: the usual reading", ["none", "kiwi"]
    )
    nbest: int = option(1, "most pronunciations per word", within="[1, 1000]")
    min_probability: float = option(
        0.0, "smallest probability of a pronunciation other than the first", within="[0, 1]"
    )


@dataclass
class PunctuationConfig(Options):
    model: str = option("default", "punctuation net: default (that of text.lang), or a file")
    epochs: int = option(2, "number of passes over the text", within="[1, 1000]")
    lines: int = option(1, "lines that are punctuated and scored as one text", within="[1, 1e6]")


@dataclass
class GraphConfig(Options):
    kind: str = option(
        "static",
        "static: compiled whole; dynamic: composed during the search; word: a word list; grammar: a JSGF grammar; "
        "none: no graph (bundle)",
        ["static", "dynamic", "word", "grammar", "none"],
    )
    words: str | None = option(None, "word list, one word or phrase per line (graph.kind=word)")
    grammar: str | None = option(None, "JSGF file (graph.kind=grammar)")
    dir: str = option("${out}/graph", "folder of the graph")
    ngram: str | None = option(
        None, "packed n-gram model that replaces the one in a dynamic graph; `asr lm convert` makes it"
    )
    lexicon: str | None = option(
        "${tokens.lexicon}", "pronunciation lexicon; null spells the words of the language model in the net's units"
    )
    silence: str | None = option(None, "token allowed between words; null allows none")
    fillers: list[str] = option([], "words that may stand between any two others, such as um,uh or 어,음")
    filler_cost: float = option(4.0, "cost of each filler, in nats", within="[0, 1e6]")
    topology: str = option(
        "explicit",
        "explicit: CTC topology compiled into the graph (HLG); implicit: added by the search (smaller, slower)",
        ["explicit", "implicit"],
    )
    draw_states: int = option(60, "largest graph, in states, that is drawn as SVG", within="[0, 1e5]")
    forecast: bool = option(False, "only forecast the size of the graph")
    memory_mb: int | None = option(None, "memory limit of the build; null sets none", within="[1, 1e9]")
    cache: str | None = option("${graph.dir}/cache", "folder of stages kept for the next build; null keeps none")


@dataclass
class ScoreConfig(Options):
    ref: str | None = option(
        None, "references: a manifest, id<TAB>text, Kaldi text, trn, stm or JSON; null: the manifest of `split`"
    )
    hyp: str | None = option(None, "hypotheses: JSONL of `asr decode`, id<TAB>text, Kaldi text, trn, ctm or JSON")
    dir: str = option("${out}/score", "folder of the report")
    resamples: int = option(1000, "bootstrap resamples for the confidence interval", within="[1, 1e7]")
    lang: str = option(
        "auto", "punctuation and case that are not compared: of English, Korean, or none; auto: of Korean texts",
        ["auto", "none", "en", "ko"],
    )  # fmt: skip
    rate: str = option(
        "auto", "error rate that `asr tune` minimises; auto: cer_without_spaces for Korean, otherwise wer",
        ["auto", "wer", "wer_without_spaces", "cer", "cer_without_spaces", "jamo"],
    )  # fmt: skip


@dataclass
class ReportConfig(Options):
    other: str | None = option(None, "run folder that `asr report` compares with")
    worst: int = option(10, "number of utterances with the most errors that are shown with sound", within="[0, 1000]")
    sound_mb: float = option(2.0, "limit of all their sounds, in MiB; those beyond are left out", within="[0, 1000]")


@dataclass
class AlignConfig(Options):
    level: str = option("words", "what the lines of a CTM are", ["words", "tokens"])
    lead_s: float = option(0.04, "seconds from a word's beginning to the net's first peak, at a pause", within="[0, 1]")
    tail_s: float = option(0.06, "seconds from the net's last peak to a word's end, at a pause", within="[0, 1]")
    longest_s: float = option(15.0, "longest utterance that is cut from a long recording", within="(0, 600]")
    min_score: float = option(0.0, "what fits its text less well is set aside and named", within="[0, 1]")


@dataclass
class Config(Options):
    """The root. `out` is the run folder, which holds everything that a run makes.

    References such as `${out}` are resolved when the object is made, and not in fields that are set later."""

    out: str = option("exp", "run folder")
    seed: int = option(1, "random seed for weights, batch order and augmentation", within="[0, 1e18]")
    threads: int = option(0, "CPU threads; 0 uses all cores", within="[0, 4096]")
    device: str = option("cpu", "device that runs the net", ["cpu", "cuda"])
    init: str | None = option(None, "bundle or run folder whose net and encoder `asr train` starts from")
    bundle: str = option("${out}/model.asr", "bundle: the recogniser as one file")
    input: list[str] = option([], "files that the verb reads; given as plain words: audio, manifests, corpora, texts")
    output: str | None = option(None, "file or folder that the verb writes; null prints or uses the run folder")
    split: str = option("test", "which manifest to use", ["train", "dev", "test"])
    phrases: str | None = option(None, "file of phrases to boost, one per line: phrase, or phrase<TAB>boost")
    boost: float = option(3.0, "boost of phrases for which the file gives none, in nats", within="[-1e6, 1e6]")
    new_words: str | None = option(None, "file of words that a dynamic graph lacks, or of pronunciations of a list")
    written: bool = option(False, "numbers, dates, amounts and letters as they are written: $5 for five dollars")
    punctuate: bool = option(False, "commas, full stops, question marks and, in English, capital letters")
    spoken_language: str = option(
        "auto", "language of `written` and `punctuate`; auto: told by the recogniser's words", ["auto", "en", "ko"]
    )
    data: DataConfig = field(default_factory=DataConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    criterion: CriterionConfig = field(default_factory=CriterionConfig)
    hmm: HmmConfig = field(default_factory=HmmConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    text: TextConfig = field(default_factory=TextConfig)
    lm: LmConfig = field(default_factory=LmConfig)
    g2p: G2pConfig = field(default_factory=G2pConfig)
    punctuation: PunctuationConfig = field(default_factory=PunctuationConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    flywheel: FlywheelConfig = field(default_factory=FlywheelConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    bulk: BulkConfig = field(default_factory=BulkConfig)
    format: str = option(
        "auto",
        "format of transcripts or alignments; auto: by the suffix of `output`; for export: onnx",
        ["auto", "txt", "json", "jsonl", "srt", "vtt", "ctm", "textgrid", "onnx"],
    )
    experiment: Any = None  # the choice of an experiment file; holds no options
    fill_slots: str | None = option(
        None, "JSGF file whose public rules fill slots of the language model, such as <name>"
    )
    boost_per_word: bool = option(False, "`boost` counts for each word of a phrase, so that long phrases get more")
    adapt: AdaptConfig = field(default_factory=AdaptConfig)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if dataclasses.is_dataclass(value):
                given = {g.name: getattr(value, g.name) for g in dataclasses.fields(value)}
                found = {name: _resolved(self, each) for name, each in given.items()}
                if found != given:
                    setattr(self, f.name, dataclasses.replace(cast(Any, value), **found))
            else:
                setattr(self, f.name, _resolved(self, value))


def _resolved(cfg: Config, value: Any) -> Any:
    """`value` with each `${group.option}` replaced by that option's value."""
    if isinstance(value, list):
        return [_resolved(cfg, item) for item in value]
    if not isinstance(value, str):
        return value
    if whole := REFERENCE.fullmatch(value):
        return _resolved(cfg, value_of(cfg, whole[1]))
    return REFERENCE.sub(lambda match: str(_resolved(cfg, value_of(cfg, match[1]))), value)


def value_of(cfg: Config, name: str) -> Any:
    """The value of an option by its dotted name. Raises InputError if there is no such option."""
    value: Any = cfg
    for part in name.split("."):
        if not hasattr(value, part):
            raise InputError(f"there is no option '{name}'{nearest(name, (n for n, _ in option_fields()))}")
        value = getattr(value, part)
    return value


def option_fields() -> Iterator[tuple[str, dataclasses.Field]]:
    """(dotted name, dataclass field) of each option."""
    for f in dataclasses.fields(Config):
        if dataclasses.is_dataclass(f.type):
            yield from ((f"{f.name}.{g.name}", g) for g in dataclasses.fields(f.type))
        elif f.name != "experiment":
            yield f.name, f


def check_choices(cfg: Config) -> None:
    """Raises InputError for the first option whose value is not of its type, in its bounds or among its choices."""
    for name, f in option_fields():
        _check_value(name, f, value_of(cfg, name))


def check_group(name: str, group: Options) -> None:
    """The same for the options of one group, such as `features`."""
    for f in dataclasses.fields(cast(Any, group)):
        _check_value(f"{name}.{f.name}", f, getattr(group, f.name))


def _check_value(name: str, f: dataclasses.Field, value: Any) -> None:
    choices = f.metadata["choices"]
    if isinstance(value, str) and (instead := f.metadata["gone"].get(value)):
        raise InputError(f"{name}={value}: {instead}")
    if choices and value not in choices:
        hint = nearest(str(value), choices)
        raise InputError(f"{name}={value}: expected one of {', '.join(choices)}{hint}")
    if not choices and (wrong := complaint(value, f.type, f.metadata["within"])):
        raise InputError(f"{name}={str(value)[:40]}: {wrong}")
