"""Speech recognition from a corpus to a service. The public API:

    import asr
    recognizer = asr.load("model.asr")
    hypothesis = recognizer.transcribe("speech.wav")
    print(hypothesis.text, [(w.word, w.start_s, w.end_s, w.confidence) for w in hypothesis.words])

`asr.ctc_loss` is the CTC criterion as a torch function. Names are imported when first used, so that `import asr` and
the command line's help stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.api import Recognizer, load
    from asr.criteria.ctc import ctc_loss
    from asr.errors import InputError
    from asr.hypothesis import Hypothesis, Word

__all__ = ["Hypothesis", "InputError", "Recognizer", "Word", "ctc_loss", "load"]

_HOMES = {
    "Hypothesis": "asr.hypothesis",
    "InputError": "asr.errors",
    "Recognizer": "asr.api",
    "Word": "asr.hypothesis",
    "ctc_loss": "asr.criteria.ctc",
    "load": "asr.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
