"""Options of acoustic models: the groups `model`, `criterion` and `hmm` of asr/config.py."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class ModelConfig(Options):
    kind: str = option("lstm", "architecture of the net", ["fc", "cnn", "lstm", "linear", "conformer", "gmm"])
    hidden: int = option(256, "width of the hidden layers", within="[1, 65536]")
    layers: int = option(3, "number of hidden layers", within="[1, 256]")
    kernel: int = option(
        5, "width of a convolution in output frames; each is `subsampling` input frames", within="[1, 1024]"
    )
    subsampling: int = option(3, "input frames per output frame", within="[1, 64]")
    dropout: float = option(0.1, "fraction of activations dropped in training", within="[0, 1)")
    lookahead: int | None = option(
        None, "most output frames to come that a frame may depend on, for streams; null: no limit", within="[0, 1024]"
    )
    bidirectional: bool = option(True, "the LSTM reads in both directions; false is for streams")
    heads: int = option(4, "attention heads of the conformer", within="[1, 1024]")
    positions: str = option("rotary", "how the conformer's attention knows positions", ["rotary", "relative"])
    chunk: int = option(
        0, "output frames that the conformer reads together, for streams; 0: the whole utterance", within="[0, 65536]"
    )
    left: int = option(
        0, "output frames before the chunk that its attention reads; 0: all, which cannot stream", within="[0, 65536]"
    )
    causal: bool = option(True, "the conformer's convolutions read the past alone; false: up to the end of the chunk")
    dynamic_chunk: bool = option(
        False, "draw the chunk of each training batch, half of them whole utterances: the net then serves any chunk"
    )
    tune_layers: int = option(
        0, "layers of the encoder, after features.layer, that are trained with the net", within="[0, 256]"
    )
    lora_rank: int | None = option(
        None,
        "train only pairs of matrices of this rank in these layers (LoRA); null trains the layers themselves",
        within="[0, 8192]",
    )
    gaussians: int = option(
        16, "most Gaussians per output of the mixtures (gmm), which `asr hmm train` estimates", within="[1, 65536]"
    )


@dataclass
class CriterionConfig(Options):
    kind: str = option(
        "ctc",
        "training criterion: CTC, cross-entropy of HMM states per frame, LF-MMI (CTC-CRF), or expected word errors",
        ["ctc", "ce", "lfmmi", "mwer"],
    )
    alignments: str | None = option(
        None, "the states of each frame (ce, lfmmi over HMMs): train/alignments.npz of `asr hmm train`"
    )
    order: int = option(3, "order of the token or phone n-gram in the denominator (lfmmi)", within="[1, 8]")
    nbest: int = option(4, "most hypotheses of an utterance (mwer)", within="[2, 1000]")
    smoothing: float = option(
        0.1, "factor of CTC, or of ce with alignments, that is added (lfmmi, mwer)", within="[0, 1e3]"
    )
    zero_infinity: bool = option(True, "an utterance too short for its text has loss zero instead of infinity")


@dataclass
class HmmConfig(Options):
    context: str = option(
        "tri", "mono: phones without context; tri: states by the phones before and after, from a tree", ["mono", "tri"]
    )
    states: int = option(3, "states of a phone, from left to right", within="[2, 16]")
    silence: str = option("SIL", "phone of the silence between words and at both ends, which no word contains")
    gaussians: int = option(4000, "Gaussians of all states together", within="[1, 1e6]")
    leaves: int = option(500, "outputs of the trees (tri), silence included", within="[1, 1e6]")
    rounds: int = option(
        20, "rounds of alignment and re-estimation, for monophones and again for tri", within="[1, 1000]"
    )
    scale: float = option(
        0.1, "factor on the log-probabilities of mixtures and steps in the search; `asr tune` refines it",
        within="[1e-4, 10]",
    )  # fmt: skip
