"""Every option of every verb: its name, type, default and meaning. The yaml files in `conf/` only choose values.

One `Config` serves all verbs, so that one experiment file describes a recogniser from data to service.
The comment behind a field is its help text: `asr <verb> --help` prints it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DataConfig:
    kind: str = "auto"  # auto | kaldi | lhotse | nemo | common_voice | table | folder: what `data import` reads
    root: str | None = None  # folder with the raw corpora; else $ASR_DATA, ../shared/data, then the public source
    dir: str = "${out}/data"  # where prepare.py writes the manifests
    train: str = "${data.dir}/train.jsonl"  # manifest to train on
    dev: str = "${data.dir}/dev.jsonl"  # manifest that picks checkpoints and tunes the decoder
    test: str = "${data.dir}/test.jsonl"  # manifest to report on; never tuned on
    max_audio_s: float = 60.0  # longer recordings are set aside, named
    cache: bool = True  # keep decoded audio in memory (16 bit); not with workers
    workers: int = 0  # loader processes


@dataclass
class TokensConfig:
    unit: str = "char"  # char | jamo | phone: what the net outputs
    lexicon: str | None = None  # "word unit unit ..." lines; needed for phone
    table: str | None = None  # token table; None builds it from the training text


@dataclass
class FeaturesConfig:
    kind: str = "logmel"  # logmel | mfcc | loglinear | wave | stored: what the net hears
    sample_rate_hz: int = 16000  # audio is resampled to this
    window_ms: float = 25.0  # length of a frame
    shift_ms: float = 10.0  # from one frame to the next
    num_bins: int = 80  # filters (logmel, loglinear, mfcc), or dimension of stored features
    num_ceps: int = 13  # cepstra kept by mfcc
    low_hz: float = 20.0  # lower edge of the first filter
    high_hz: float = 0.0  # upper edge of the last filter; 0 or less counts down from half the rate
    dither: float = 0.0  # noise added while training, in units of 16-bit samples
    floor: float = 1.1920929e-07  # least energy of a filter, of 16-bit samples; higher for digital silence
    deltas: int = 0  # orders of time derivatives appended (stored cepstra and mfcc)
    cmvn: str = "utterance"  # none | global | utterance | running: mean and variance normalisation


@dataclass
class AugmentConfig:
    speeds: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])  # one is drawn an utterance; [] for none
    bin_warp: float = 0.0  # each utterance's bins are stretched by up to this share, as by another vocal tract
    freq_masks: int = 2  # SpecAugment: masks along frequency
    freq_width: int = 15  # widest, in bins
    time_masks: int = 2  # SpecAugment: masks along time
    time_width_s: float = 0.25  # widest, in seconds
    time_fraction: float = 0.2  # all time masks together cover at most this share of an utterance


@dataclass
class ModelConfig:
    kind: str = "lstm"  # fc | cnn | lstm: the net
    hidden: int = 256  # width of the layers
    layers: int = 3  # number of hidden layers
    kernel: int = 5  # output frames that a convolution sees; each is `subsampling` input frames
    subsampling: int = 3  # input frames to one output frame
    dropout: float = 0.1  # share of activations dropped in training


@dataclass
class CriterionConfig:
    kind: str = "ctc"  # the loss
    zero_infinity: bool = True  # an utterance too short for its text counts zero instead of infinity


@dataclass
class OptimConfig:
    lr: float = 1e-3  # peak learning rate of AdamW
    weight_decay: float = 1e-2  # of AdamW
    warmup: float = 0.1  # share of all steps spent warming up; then a cosine to zero
    epochs: int = 30  # passes over the training data
    batch_s: float = 120.0  # seconds of audio in a batch, padding included
    accumulate: int = 1  # batches to one optimiser step
    grad_clip: float = 5.0  # largest norm of the gradient
    average: int = 5  # best checkpoints kept, averaged at the end
    patience: int = 0  # epochs without improvement before stopping; 0 never
    checkpoint_steps: int = 200  # steps between two resume points


@dataclass
class TextConfig:
    lang: str = "en"  # en | ko: language of the texts
    numbers: str = "words"  # words | digits: figures, units and abbreviations as spoken, or as written
    latin: str = "letters"  # letters | keep: Latin capitals in Korean text by their names (TV 티비), or as written
    repairs: list[str] = field(default_factory=list)  # case, markup, repeats, spacing, files of wrong<TAB>right
    slots: list[str] = field(default_factory=list)  # marks such as <name> that stay; requests fill them with words
    paragraphs: bool = False  # lines are paragraphs: split them into sentences
    max_foreign: float = 0.5  # share of letters of other scripts above which a line is dropped
    max_repeats: int = 0  # times that a sentence may come; 0 any number


@dataclass
class LmConfig:
    text: list[str] = field(default_factory=list)  # text files (also .xz .gz), a sentence a line
    order: int = 3  # n-gram order, 1-8
    arpa: str = "${out}/lm.arpa"  # the model, written by `asr lm train`, read by `asr graph`
    vocabulary: str | None = None  # file of the words to keep; None keeps all
    min_count: int = 1  # words seen less often become <unk>
    vocabulary_size: int = 0  # only so many of the commonest words are kept; 0 keeps all
    coverage: float = 1.0  # the fewest words are kept that make up this share of the running words
    prune: list[int] = field(default_factory=list)  # n-grams seen so often or less are dropped, by order: 0,1,2
    memory_mb: int = 500  # estimation: what needs more waits in files beside the model
    base: str | None = None  # general model, which `asr lm adapt` starts from
    lang: str = "none"  # none | en | ko: language that `asr lm adapt` cleans text as; none leaves it as it is
    weights: list[float] = field(default_factory=list)  # of the models to mix; empty finds them on the dev text
    size: int | None = None  # n-grams (`lm vocabulary`: words) that stay; None prunes by threshold, or not at all
    threshold: float | None = None  # least relative rise of perplexity that saves an n-gram from pruning, as 1e-8
    marginals: str = "stationary"  # stationary | product: how pruning weighs histories; product is SRILM's way
    unknown: str | None = None  # file for `asr lm ppl` to list unknown words in


@dataclass
class G2pConfig:
    order: int = 8  # n-gram order of the chunks, 1-8
    max_letters: int = 2  # most letters that stand for one unit, as "ph" does
    max_units: int = 3  # most units that one letter stands for, as "x" does
    model: str = "default"  # default (English) | none | FILE: pronounces the words a lexicon lacks; key `g2p.model`
    nbest: int = 1  # pronunciations a word, at most
    min_probability: float = 0.0  # of each but the first


@dataclass
class GraphConfig:
    kind: str = "static"  # static (compiled) | dynamic (by the search) | word (a list) | grammar (JSGF) | none
    words: str | None = None  # kind=word: file of the words or phrases that can be said, one a line
    grammar: str | None = None  # kind=grammar: JSGF file
    dir: str = "${out}/graph"  # where the graph lies
    ngram: str | None = None  # packed n-gram that a dynamic graph takes instead of its own; `asr lm convert` makes it
    lexicon: str | None = "${tokens.lexicon}"  # word -> units; None spells the LM's words in the net's units
    silence: str | None = None  # token allowed between words; None allows none
    topology: str = "explicit"  # explicit (HLG) | implicit (LG; the search adds CTC's topology: smaller, slower)
    draw_states: int = 60  # graphs up to this size are drawn as SVG
    forecast: bool = False  # only say how large the graph would be
    memory_mb: int | None = None  # a build that needs more stops; null: no limit
    cache: str | None = "${graph.dir}/cache"  # folder of stages kept for the next build; null keeps none


@dataclass
class DecoderConfig:
    kind: str = "graph"  # graph | greedy: through words, or the best token of each frame
    beam: float = 16.0  # cost above the best at which a token dies
    max_active: int = 7000  # tokens kept a frame
    min_active: int = 20  # where the beam leaves fewer tokens, it is widened
    acoustic_scale: float = 1.0  # factor on the net's log-probs against the graph's costs
    word_penalty: float = 0.0  # cost added to each word
    blank_penalty: float = 0.0  # cost added to each blank frame
    blank_skip: float | None = None  # frames with so probable a blank are passed over; null: none
    lattice_beam: float | None = 8.0  # cost above the best up to which other readings are kept; null: none
    nbest: int = 1  # readings given: the best and its alternatives
    confidence_scale: float = 1.0  # on the log-odds of a word's posterior; `asr calibrate` finds it
    confidence_offset: float = 0.0  # added to them
    reject_below: float = 0.0  # words of less confidence are left out of the text


@dataclass
class ScoreConfig:
    ref: str | None = None  # reference manifest or "id<TAB>text" file
    hyp: str | None = None  # hypotheses, JSONL as `asr decode` writes them, or "id<TAB>text"
    dir: str = "${out}/score"  # where the report goes
    resamples: int = 1000  # bootstrap resamples behind the interval


@dataclass
class Config:
    """The root. `out` is the run folder: everything a run makes lies below it."""

    out: str = "exp"  # run folder
    seed: int = 1  # of every draw: weights, order, augmentation
    threads: int = 0  # CPU threads; 0 takes all cores
    device: str = "cpu"  # cpu | cuda: where the net runs
    bundle: str = "${out}/model.asr"  # the one-file model
    input: list[str] = field(default_factory=list)  # files a verb reads: audio, manifests, corpora
    output: str | None = None  # file a verb writes; None prints or uses the run folder
    split: str = "test"  # train | dev | test: which manifest to decode
    phrases: str | None = None  # file of phrases to favour, one a line, "phrase" or "phrase<TAB>boost"
    boost: float = 3.0  # of phrases without their own: what a path that holds one gains, in nats
    new_words: str | None = None  # file of words the language model lacks, for a dynamic graph
    data: DataConfig = field(default_factory=DataConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    criterion: CriterionConfig = field(default_factory=CriterionConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    text: TextConfig = field(default_factory=TextConfig)
    lm: LmConfig = field(default_factory=LmConfig)
    g2p: G2pConfig = field(default_factory=G2pConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    experiment: Any = None  # name of an experiment file, from `conf/experiment` or --config-dir
    format: str = "auto"  # auto | txt | json | jsonl | srt | vtt | ctm | textgrid: of transcripts; auto: as output ends
