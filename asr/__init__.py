"""Speech recognition from a corpus to a service. The public API:

    import asr
    recognizer = asr.load("model.asr")  # or a run folder
    hypothesis = recognizer.transcribe("speech.wav")
    print(hypothesis.text, [(w.word, w.start_s, w.end_s, w.confidence) for w in hypothesis.words])

`asr.Config` holds every option; `asr.train(cfg)`, `train_lm`, `build_graph`, `tune`, `calibrate`, `decode`, `score` and
`bundle` are the main verbs of the command line as functions (`asr/pipeline.py`). `asr.ctc_loss` is the CTC criterion as
a torch function; `ctc_forced_align`, `ctc_occupancy` and `ctc_greedy` align frames with tokens. Names
are imported when first used, so that `import asr` and the command line's help stay quick.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenMP threads that wait in spin loops slow each other down a hundredfold when another process takes a core. Torch's
# OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from asr.config import Config
    from asr.criteria import ctc_forced_align, ctc_greedy, ctc_loss, ctc_occupancy
    from asr.errors import InputError
    from asr.hypothesis import Hypothesis, Word
    from asr.pipeline import (
        build_graph,
        bundle,
        calibrate,
        decode,
        forecast_graph,
        open_recognizer,
        score,
        train,
        train_lm,
        tune,
        tuned,
    )
    from asr.recognizer.opening import load
    from asr.recognizer.options import DecodingOptions
    from asr.recognizer.recognizer import Recognizer
    from asr.recognizer.stream import Stream, StreamEnd, StreamPartial
    from asr.search.endpoint import EndpointOptions
    from asr.search.new_words import NewWord

__all__ = [
    "DecodingOptions",
    "Config",
    "EndpointOptions",
    "Hypothesis",
    "InputError",
    "NewWord",
    "Recognizer",
    "Stream",
    "StreamEnd",
    "StreamPartial",
    "Word",
    "build_graph",
    "bundle",
    "calibrate",
    "ctc_forced_align",
    "ctc_greedy",
    "ctc_loss",
    "ctc_occupancy",
    "decode",
    "forecast_graph",
    "load",
    "open_recognizer",
    "score",
    "train",
    "train_lm",
    "tune",
    "tuned",
]

_HOMES = {
    "DecodingOptions": "asr.recognizer.options",
    "Config": "asr.config",
    "EndpointOptions": "asr.search.endpoint",
    "Hypothesis": "asr.hypothesis",
    "InputError": "asr.errors",
    "NewWord": "asr.search.new_words",
    "Recognizer": "asr.recognizer.recognizer",
    "Stream": "asr.recognizer.stream",
    "StreamEnd": "asr.recognizer.stream",
    "StreamPartial": "asr.recognizer.stream",
    "Word": "asr.hypothesis",
    "build_graph": "asr.pipeline",
    "bundle": "asr.pipeline",
    "calibrate": "asr.pipeline",
    "ctc_forced_align": "asr.criteria",
    "ctc_greedy": "asr.criteria",
    "ctc_loss": "asr.criteria",
    "ctc_occupancy": "asr.criteria",
    "decode": "asr.pipeline",
    "forecast_graph": "asr.pipeline",
    "load": "asr.recognizer.opening",
    "open_recognizer": "asr.pipeline",
    "score": "asr.pipeline",
    "train": "asr.pipeline",
    "train_lm": "asr.pipeline",
    "tune": "asr.pipeline",
    "tuned": "asr.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
