"""Speech recognition from a corpus to a service. The public API:

    import asr
    recognizer = asr.load("model.asr")
    hypothesis = recognizer.transcribe("speech.wav")
    print(hypothesis.text, [(w.word, w.start_s, w.end_s, w.confidence) for w in hypothesis.words])

`asr.ctc_loss` is the CTC criterion as a torch function; `ctc_forced_align`, `ctc_occupancy` and `ctc_greedy` tell which
frame belongs to which token. Names are imported when first used, so that `import asr` and
the command line's help stay quick.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenMP threads that wait in spin loops slow each other down a hundredfold when another process takes a core. Torch's
# OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from asr.criteria import ctc_forced_align, ctc_greedy, ctc_loss, ctc_occupancy
    from asr.errors import InputError
    from asr.hypothesis import Hypothesis, Word
    from asr.recognizer.recognizer import Recognizer, load

__all__ = [
    "Hypothesis",
    "InputError",
    "Recognizer",
    "Word",
    "ctc_forced_align",
    "ctc_greedy",
    "ctc_loss",
    "ctc_occupancy",
    "load",
]

_HOMES = {
    "Hypothesis": "asr.hypothesis",
    "InputError": "asr.errors",
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
