"""Speech recognition from a corpus to a service. The public API:

    import asr
    recognizer = asr.load("model.asr")
    hypothesis = recognizer.transcribe("speech.wav")
    print(hypothesis.text, [(w.word, w.start_s, w.end_s, w.confidence) for w in hypothesis.words])

`asr.ctc_loss` is the CTC criterion as a torch function; `ctc_forced_align`, `ctc_occupancy` and `ctc_greedy` tell which
frame belongs to which token. Names are imported when first used, so that `import asr` and
the command line's help stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.criteria import ctc_forced_align, ctc_greedy, ctc_loss, ctc_occupancy
    from asr.errors import InputError
    from asr.hypothesis import Hypothesis, Word
    from asr.recognizer.options import DecodingOptions
    from asr.recognizer.recognizer import Recognizer, load
    from asr.search.new_words import NewWord

__all__ = [
    "DecodingOptions",
    "Hypothesis",
    "InputError",
    "NewWord",
    "Recognizer",
    "Word",
    "ctc_forced_align",
    "ctc_greedy",
    "ctc_loss",
    "ctc_occupancy",
    "load",
]

_HOMES = {
    "DecodingOptions": "asr.recognizer.options",
    "Hypothesis": "asr.hypothesis",
    "InputError": "asr.errors",
    "NewWord": "asr.search.new_words",
    "Recognizer": "asr.recognizer.recognizer",
    "Word": "asr.hypothesis",
    "ctc_forced_align": "asr.criteria",
    "ctc_greedy": "asr.criteria",
    "ctc_loss": "asr.criteria",
    "ctc_occupancy": "asr.criteria",
    "load": "asr.recognizer.recognizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
