"""What recognises in `asr transcribe`, in this process or in others: the recogniser that the options ask for.

Also what workers of a Ray are given and return, which need not be recordings."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from asr.config import Config
from asr.errors import InputError
from asr.recognizer.requests import named_language, phrases_of, requested
from asr.threads import limit_threads

if TYPE_CHECKING:
    from asr.recognizer import long
    from asr.recognizer.long import Progress, Recording
    from asr.recognizer.recognizer import Recognizer


class Share(Protocol):
    """Items by number, which one worker is given at a time: recordings (asr.recognizer.long), utterances, ..."""

    @property
    def opened(self) -> Mapping[int, Any]: ...

    def alone(self) -> "Sequence[Share]":
        """Each item as a share of its own."""


Result = tuple[int, Any]  # with the number of the item; of a recording: Hypothesis | InputError
Attempt = Callable[[Sequence[Share]], Iterable[tuple[int, list[Result]]]]  # shares -> their numbers and results


def open_recognizer(cfg: Config) -> "Recognizer":
    """The recogniser of `cfg.bundle` with the search that `cfg` asks for."""
    from asr.recognizer.opening import load

    limit_threads(cfg)
    options = vars(cfg.decoder)
    opened = load(cfg.bundle, cfg.device, cfg.data.max_audio_s, cfg.g2p.model, cfg.data.channel, **options)
    return requested(opened, cfg)


class Worker:
    """A recogniser with the phrases and the way of writing that `cfg` asks for."""

    def __init__(self, cfg: Config, recognizer: "Recognizer"):
        from asr.recognizer.written import writing_of

        self.recognizer, self.threads = recognizer, cfg.threads
        self.phrases = recognizer.compile_phrases(phrases_of(cfg))
        self.writing = writing_of(recognizer, cfg.written, cfg.punctuate, named_language(cfg))

    def recognise(self, recordings: "Sequence[Recording]", progress: "Progress") -> Iterator[Result]:
        from asr.recognizer import long

        found = long.transcribe_each(self.recognizer, recordings, None, self.phrases, self.threads, progress)
        yield from map(self._written, found)

    def recognise_share(self, share: "long.Share") -> list[Result]:
        from asr.recognizer import long

        found = long.transcribe_share(self.recognizer, share, None, self.phrases, self.threads)
        return list(map(self._written, found))

    def _written(self, result: Result) -> Result:
        number, found = result
        return number, found if isinstance(found, InputError) or not self.writing else self.writing(found)
