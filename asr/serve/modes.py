"""The modes of the service, and the recognisers that callers prepare from them.

| mode | what it recognises |
|---|---|
| word | one entry of the list, or one sentence of the grammar, that the request brings |
| dictation | free speech, by the model's own graph |
| web, local | free speech, by another graph or language model over the same acoustic model |
"""

from dataclasses import replace
from typing import Any

from asr.config import Config
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer, load
from asr.serve.access import Caller
from asr.serve.errors import Refused


class Modes:
    """A recogniser for each mode; they share their acoustic model unless a mode brings its own."""

    def __init__(self, recognizers: dict[str, Recognizer]):
        self.recognizers = recognizers

    @classmethod
    def load(cls, cfg: Config) -> "Modes":
        """Opens the bundle `cfg.bundle`, and what `cfg.serve.modes` names. Raises InputError if one is missing."""
        own = load(cfg.bundle, cfg.device, cfg.serve.max_audio_s, cfg.g2p.model, cfg.data.channel)
        return cls({entry.partition("=")[0]: own for entry in cfg.serve.modes})

    @property
    def names(self) -> list[str]:
        return list(self.recognizers)

    def of(self, name: str | None) -> Recognizer:
        """The recogniser of a mode; None: the first one. Raises Refused(400) for an unknown one."""
        if name is None:
            return next(iter(self.recognizers.values()))
        if name not in self.recognizers:
            raise Refused(400, f"there is no mode '{name}'; this service has {', '.join(self.names)}", param="mode")
        return self.recognizers[name]

    def prepared(
        self, caller: Caller, mode: str | None, options: DecodingOptions
    ) -> tuple[Recognizer, DecodingOptions]:
        """The recogniser of a mode with the list, grammar or new words of `options`, and the options that are left.

        It may compile a list, so it runs in a worker. What it compiles is kept for this caller alone.
        """
        recognizer = self.of(mode)
        rest: dict[str, Any] = {"word_list": None, "grammar": None, "new_words": None}
        if options.word_list is not None:
            recognizer = recognizer.with_list(options.word_list)
        elif options.grammar is not None:
            recognizer = recognizer.with_grammar(options.grammar)
        elif options.new_words is not None:
            recognizer = recognizer.with_new_words(options.new_words)
        return recognizer, replace(options, **rest)
