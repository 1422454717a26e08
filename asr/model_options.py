"""Options of acoustic models: the groups `model`, `criterion`, `optim` and `hmm` of asr/config.py."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class ModelConfig(Options):
    kind: str = option(
        "lstm", "architecture of the net", ["fc", "cnn", "lstm", "linear", "conformer", "ebranchformer", "gmm"]
    )
    hidden: int = option(256, "width of the hidden layers", within="[1, 65536]")
    layers: int = option(3, "number of hidden layers", within="[1, 256]")
    kernel: int = option(
        5, "width of a convolution in output frames; each is `subsampling` input frames", within="[1, 1024]"
    )
    bottleneck: int | None = option(
        None,
        "factorise the convolutions of the cnn through so many values (TDNN-F); null does not",
        within="[1, 65536]",
    )
    filters: str = option(
        "none",
        "features.num_bins filters, trained with the net on its raw samples (features=wave): each tap, or the edges of "
        "each band",
        ["none", "learned", "sinc"],
    )
    subsampling: int = option(3, "input frames per output frame", within="[1, 64]")
    dropout: float = option(0.1, "fraction of activations dropped in training", within="[0, 1)")
    lookahead: int | None = option(
        None, "most output frames to come that a frame may depend on, for streams; null: no limit", within="[0, 1024]"
    )
    bidirectional: bool = option(True, "the LSTM reads in both directions; false is for streams")
    heads: int = option(4, "attention heads (conformer, ebranchformer)", within="[1, 1024]")
    positions: str = option(
        "rotary", "how attention knows positions (conformer, ebranchformer)", ["rotary", "relative"]
    )
    chunk: int = option(
        0, "output frames that attention reads together, for streams; 0: the whole utterance", within="[0, 65536]"
    )
    left: int = option(
        0, "output frames before the chunk that its attention reads; 0: all, which cannot stream", within="[0, 65536]"
    )
    causal: bool = option(True, "convolutions beside attention read the past alone; false: up to the end of the chunk")
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
    intermediate: list[int] = option(
        [], "hidden layers, from 1, that are trained by the criterion, too (intermediate CTC)", within="[1, 256]"
    )
    self_conditioned: bool = option(False, "the next layers read the posteriors of these layers")
    layer_drop: float = option(
        0.0, "chance that a training batch skips the last block; it falls to zero at the first (stochastic depth)",
        within="[0, 1)",
    )  # fmt: skip
    gaussians: int = option(
        16, "most Gaussians per output of the mixtures (gmm), which `asr hmm train` estimates", within="[1, 65536]"
    )
    splice: int = option(0, "frames on each side that the mixtures (gmm) see through a matrix", within="[0, 64]")
    projected: int = option(
        0, "dimensions of the mixtures behind that matrix; 0: they see the features themselves", within="[0, 8192]"
    )
    speakers: bool = option(False, "the mixtures (gmm) have a second set, of speech that is adapted to its speaker")


@dataclass
class CriterionConfig(Options):
    kind: str = option(
        "ctc",
        "training criterion: CTC, cross-entropy of HMM states or CTC outputs per frame, LF-MMI (CTC-CRF), or expected "
        "errors of words (mwer) or of frames (smbr)",
        ["ctc", "ce", "lfmmi", "mwer", "smbr"],
    )
    alignments: str | None = option(
        None,
        "the output of each frame (ce; lfmmi, mwer and smbr over HMMs): train/alignments.npz of `asr hmm train`, or "
        "FILE.npz of `asr align`",
    )
    ngram_order: int = option(3, "order of the token or phone n-gram in the denominator (lfmmi)", within="[1, 8]")
    nbest: int = option(4, "most hypotheses of an utterance (mwer)", within="[2, 1000]")
    auxiliary_weight: float = option(
        0.1, "factor of CTC, or of ce with alignments, that is added (lfmmi, mwer, smbr)", within="[0, 1e3]"
    )
    zero_infinity: bool = option(True, "an utterance too short for its text has loss zero instead of infinity")
    intermediate_weight: float = option(0.3, "share of the layers of model.intermediate in the loss", within="[0, 1)")
    smoothing: float = option(
        0.0, "share of label smoothing in the loss: the divergence of each frame from equal posteriors", within="[0, 1)"
    )
    consistency: float = option(
        0.0, "weight of the disagreement of two views of each utterance with their own masks (CR-CTC); 0: one view",
        within="[0, 100]",
    )  # fmt: skip
    consistency_warmup: float = option(
        0.1, "fraction of all steps in which this weight rises from zero", within="[0, 1]"
    )
    prior_scale: float = option(
        0.0,
        "factor of each output's log-prior that the loss takes from its log-probs, which makes them less peaky (ctc)",
        within="[0, 2]",
    )
    prior_subtraction: float = option(
        0.0, "factor of each output's log-prior that the trained net takes from its log-probs (ctc)", within="[0, 2]"
    )


@dataclass
class OptimConfig(Options):
    lr: float = option(1e-3, "peak learning rate of AdamW", within="[0, 100]")
    tune_lr: float = option(1e-4, "peak learning rate of the encoder's layers (model.tune_layers)", within="[0, 100]")
    tune_decay: float = option(
        1.0, "factor of this rate from each of these layers to the one below it", within="(0, 1]"
    )
    weight_decay: float = option(1e-2, "weight decay of AdamW", within="[0, 100]")
    warmup: float = option(
        0.1, "fraction of all steps for the linear warm-up; a cosine to zero follows", within="[0, 1]"
    )
    epochs: int = option(30, "number of passes over the training data", within="[1, 1e6]")
    sorted_epochs: int = option(
        0, "first epochs whose batches go from short to long utterances (curriculum)", within="[0, 1e6]"
    )
    batch_s: float = option(120.0, "seconds of audio per batch, padding included", within="(0, 1e6]")
    shards: int = option(
        0,
        "parts of a batch that processes or GPUs can compute at the same time; 0: 2 on the CPU, 1 on a GPU, or one per "
        "process of torchrun if these are more",
        within="[0, 4096]",
    )
    precision: str = option(
        "auto",
        "arithmetic of the net in training; auto: bf16 on GPUs that compute in it, and on such CPUs if layers of an "
        "encoder are trained (model.tune_layers), else fp32; fp16: for older GPUs",
        ["auto", "fp32", "bf16", "fp16"],
    )
    accumulate: int = option(1, "batches per optimiser step", within="[1, 1e5]")
    grad_clip: float = option(5.0, "largest norm of the gradient", within="(0, inf]")
    average: int = option(
        5, "number of best checkpoints kept; at the end the best of them are averaged, as many as the dev set prefers",
        within="[1, 1000]",
    )  # fmt: skip
    ema: float = option(
        0.0, "decay of a moving average of the weights, which is evaluated and kept instead; 0: none", within="[0, 1)"
    )
    general_margin: float = option(
        1.0, "points by which the token errors on data.general_dev may exceed those of `init`", within="[0, 100]"
    )
    patience: int = option(0, "stop after this many epochs without improvement; 0 never stops early", within="[0, 1e6]")
    checkpoint_steps: int = option(200, "optimiser steps between two resume points", within="[1, 1e9]")
    sharded: bool = option(
        False, "divide parameters, gradients and optimiser states among the processes of torchrun (FSDP)"
    )
    cuda_graphs: bool = option(
        False, "on a GPU, record the net's operations for shapes of batches that come again, and launch them at once"
    )


@dataclass
class HmmConfig(Options):
    context: str = option(
        "tri", "mono: phones without context; tri: states by the phones before and after, from a tree", ["mono", "tri"]
    )
    states: int = option(3, "states of a phone, from left to right", within="[1, 16]")
    silence: str = option("SIL", "phone of the silence between words and at both ends, which no word contains")
    gaussians: int = option(4000, "Gaussians of all states together", within="[1, 1e6]")
    leaves: int = option(500, "outputs of the trees (tri), silence included", within="[1, 1e6]")
    rounds: int = option(
        20, "rounds of alignment and re-estimation, for monophones and again for tri", within="[1, 1000]"
    )
    splice: int = option(
        0, "frames on each side that LDA and MLLT combine with a frame; 0: the features as they are", within="[0, 64]"
    )
    dim: int = option(40, "dimensions that LDA keeps", within="[1, 8192]")
    speakers: bool = option(
        False, "adapt to each speaker in training and in `asr decode` and `tune` (fMLLR); needs hmm.splice"
    )
    scale: float = option(
        0.1, "factor on the log-probabilities of mixtures and steps in the search; `asr tune` refines it",
        within="[1e-4, 10]",
    )  # fmt: skip
    speeds: list[float] = option(
        [1.0], "speed factors at which each training utterance is heard, 1 among them", within="[0.1, 10]"
    )
