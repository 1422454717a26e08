"""Options of the search, of recognising sound while it arrives, and of adapting to speakers."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class DecoderConfig(Options):
    kind: str = option("graph", "graph: beam search over words; greedy: best token per frame", ["graph", "greedy"])
    beam: float = option(16.0, "largest cost above the best path's before a path is pruned", within="(0, inf]")
    max_active: int = option(7000, "most active paths per frame", within="[1, 2147483647]")
    min_active: int = option(
        20, "fewest active paths per frame; the beam widens to keep them", within="[0, 2147483647]"
    )
    acoustic_scale: float = option(
        1.0, "factor on the log-probs, relative to the costs of the graph", within="(0, 1e6]"
    )
    word_penalty: float = option(0.0, "cost per word", within="[-1e6, 1e6]")
    blank_penalty: float = option(0.0, "cost per blank frame", within="[-1e6, 1e6]")
    blank_skip: float | None = option(
        None, "skip frames whose blank probability is at least this; null skips none", within="(0, 1]"
    )
    lattice_beam: float | None = option(
        8.0,
        "largest cost of a lattice path above the best path's; null makes no lattice and no confidences from it",
        within="[0, inf]",
    )
    nbest: int = option(1, "number of hypotheses per utterance", within="[1, 1000]")
    mbr: bool = option(
        False,
        "words of least expected word errors over the lattice (minimum Bayes risk) instead of the cheapest path's",
    )
    rescore: str | None = option(
        None,
        "language model that ranks the best readings anew: a file of `asr lm train` or `asr lm convert`, or a folder "
        "or hub name of transformers; `bundled`: the bundle's own",
    )
    rescore_share: float = option(
        0.5,
        "share of decoder.rescore in the costs of language, or weight of a model that hears; set by `asr tune`",
        within="[0, 1]",
    )
    rescore_penalty: float = option(
        0.0, "cost per word that ranking anew adds; set by `asr tune`", within="[-1e6, 1e6]"
    )
    rescore_nbest: int = option(100, "number of readings that are ranked anew", within="[1, 1000]")
    confusion: bool = option(False, "results hold the confusion network: the words that compete at each place")
    confidence_scale: float = option(
        1.0, "factor on the log-odds of word posteriors; set by `asr calibrate`", within="[-1e6, 1e6]"
    )
    confidence_offset: float = option(0.0, "offset added to the log-odds; set by `asr calibrate`", within="[-1e6, 1e6]")
    calibrated_for: list[str] = option(
        [], "options of the search that the confidences were calibrated with; set by `asr calibrate`"
    )
    reject_below: float = option(0.0, "words of lower confidence are left out of the text", within="[0, 1]")
    pad_s: float = option(
        0.0,
        "seconds of quiet noise added at both ends of a recording; nets on encoders need them for short clips",
        within="[0, 10]",
    )
    remove: list[str] = option([], "words that are left out of the text, such as the fillers um,uh or 어,음")
    remove_restarts: bool = option(False, "leave repeated pronouns, articles and the like out of the text: I I want")
    rescore_order: int | None = option(
        None,
        "decoder.rescore ranks all paths of the lattice, those with the same last words as one: as many words as an "
        "n-gram model of this order knows; 0 ranks the readings; null: paths with n-gram models, readings with others",
        within="[0, 100]",
    )
    confidence_clarity: float = option(
        0.0,
        "added to confidence_scale if all words of the utterance are certain, and in part otherwise; set by `asr "
        "calibrate`",
        within="[0, 1e6]",
    )


@dataclass
class LiveConfig(Options):
    microphone: bool = option(False, "hear the microphone, as --microphone does; needs the extra `microphone`")
    rate: int = option(16000, "sample rate of the standard input (`-`)", within="[1000, 768000]")
    encoding: str = option(
        "s16le", "samples of the standard input: 16-bit integers or 32-bit floats", ["s16le", "f32le"]
    )
    vad: str = option(
        "energy", "what tells silence: the net alone, the level, or Silero's net", ["net", "energy", "silero"]
    )
    silence: float | None = option(
        None,
        "seconds of silence that end an utterance; null: as many as the language model finds the end improbable",
        within="[0.1, 60]",
    )


@dataclass
class AdaptConfig(Options):
    passes: int = option(
        1, "passes over a speaker's utterances that HMMs of hmm=sat adapt in, one after the other", within="[1, 100]"
    )
    speech_s: float = option(40.0, "seconds of speech of a speaker that each such pass hears", within="[5, inf]")
