"""The modes of the service, and the recognisers that callers prepare from them.

| mode | what it recognises |
|---|---|
| word | one entry of the list, or one sentence of the grammar, that the request brings |
| dictation | free speech, by the model's own graph |
| web, local | free speech, by another graph or language model over the same acoustic model |
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from asr import fingerprints
from asr.config import Config
from asr.errors import InputError, nearest
from asr.recognizer.opening import load
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.search.space import DynamicSpace, SearchSpace
from asr.serve.access import Caller
from asr.serve.asked import Asked
from asr.serve.errors import Refused

_log = logging.getLogger(__name__)

NAMES = ("word", "dictation", "web", "local")
OF_FILES = ("web", "local")
MOST_STATES = 50_000  # of a grammar
_OF_FOLDERS = ("train/final.safetensors", "graph.bin", "lm.ngram")  # what tells the version of a folder
KEPT, KEPT_IN_ALL = 4, 64  # compiled lists, grammars and new words: of one caller, and of all


class Modes:
    """A recogniser for each mode; they share their acoustic model unless a mode brings its own."""

    def __init__(self, recognizers: dict[str, Recognizer], bundle: str = "", models: dict[str, str] | None = None):
        """`bundle`: what was opened. `models`: the version of each mode's recogniser, for the log of requests."""
        self.recognizers, self.bundle, self.models = recognizers, bundle, models or {}
        self._kept: OrderedDict[tuple[str, Hashable], Recognizer] = OrderedDict()  # by caller and content
        self._lock = threading.Lock()

    @classmethod
    def load(cls, cfg: Config) -> "Modes":
        """Opens the bundle `cfg.bundle`, and what `cfg.serve.modes` names. Raises InputError if one is missing.

        A link is followed first, so that what is opened and what is logged are one file.
        """
        cfg = replace(cfg, bundle=os.path.realpath(cfg.bundle))
        own = _load(cfg, cfg.bundle)
        found: dict[str, Recognizer] = {}
        for entry in cfg.serve.modes:
            name, _, file = entry.partition("=")
            if name not in NAMES:
                raise InputError(f"serve.modes has '{name}'; choose among {', '.join(NAMES)}{nearest(name, NAMES)}")
            if name in found:
                raise InputError(f"serve.modes has '{name}' twice; keep one")
            found[name] = _of_file(cfg, own, file) if file else own
            if name != "word" and found[name].needs_list:
                raise InputError(f"mode '{name}' is free speech, and {file or cfg.bundle} has no graph for it; serve "
                                 "it with modes=word, or bundle it with a graph")  # fmt: skip
            if name in OF_FILES and not file:
                _log.warning(
                    "mode '%s' names no file, so it recognises by the graph of %s, as dictation does; to give it "
                    "another graph or language model: modes=%s=FILE", name, cfg.bundle, name)  # fmt: skip
        if not found:
            raise InputError(f"serve.modes is empty; name at least one of {', '.join(NAMES)}")
        if cfg.serve.rescore_on_request and not any(recognizer.rescorer for recognizer in found.values()):
            raise InputError(f"serve.rescore_on_request=true needs a second pass, and {cfg.bundle} has no language "
                             "model for one; bundle with rescore=MODEL")  # fmt: skip
        is_logged = cfg.serve.log is not None or cfg.serve.candidate is not None
        return cls(found, cfg.bundle, versions(cfg, list(found)) if is_logged else None)

    @property
    def names(self) -> list[str]:
        return list(self.recognizers)

    def of(self, name: str) -> Recognizer:
        """The recogniser of a mode. Raises Refused(400) if the service does not have it."""
        if name not in self.recognizers:
            raise Refused(400, f"there is no mode '{name}'; this service has {', '.join(self.names)}", param="mode")
        return self.recognizers[name]

    def free(self) -> str:
        """The mode of free speech that a request gets which names none. Raises Refused(400) if there is none."""
        if not (found := [name for name in self.names if name != "word"]):
            raise Refused(400, "this service recognises word lists only; send words or a grammar, for instance to "
                               "/v1/recognize", param="words")  # fmt: skip
        return found[0]

    def mode_for(self, asked: Asked) -> str:
        """The mode of a request, which must fit what it brings. Raises Refused(400)."""
        is_closed = asked.words is not None or asked.grammar is not None
        given = "words" if asked.words is not None else "grammar"
        if is_closed and "word" not in self.names and asked.mode in (None, *self.names):
            reason = f"{given} cannot be used: the service was started without the mode 'word' (modes=word,dictation)"
            raise Refused(400, reason, param=given)
        mode = asked.mode or ("word" if is_closed else self.free())
        self.of(mode)
        if mode == "word" and not is_closed:
            raise Refused(400, "mode 'word' needs the words, or a grammar, of which one is said", param="words")
        if mode != "word" and is_closed:
            raise Refused(400, f"mode '{mode}' is free speech and takes no {given}; choose mode 'word'", param=given)
        return mode

    def prepared(
        self, caller: Caller, mode: str | None, options: DecodingOptions
    ) -> tuple[Recognizer, DecodingOptions]:
        """The recogniser of a mode with all that `options` ask for, and the options without what it has now.

        It may compile a list, so it runs in a worker. What it compiles is kept for this caller alone.
        """
        recognizer = self.of(mode or self.free())
        rest = replace(options, word_list=None, grammar=None, new_words=None, slots=None)
        if (content := _content(options)) is not None:
            key = (caller.id, (mode, content))
            recognizer = self._find(key) or self._keep(key, _compiled(recognizer, options))
        decoder = recognizer.cfg.decoder
        if recognizer.space is None or decoder.kind == "greedy":
            rest.check_greedy()
        asked = rest.decoder(decoder, recognizer.rescorer)
        return (recognizer if asked == decoder else recognizer.with_decoder(asked)), rest

    def _find(self, key: tuple[str, Hashable]) -> Recognizer | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, Hashable], recognizer: Recognizer) -> Recognizer:
        """Keeps the latest of each caller, and of all."""
        with self._lock:
            self._kept[key] = recognizer
            own = [other for other in self._kept if other[0] == key[0]]
            for old in own[:-KEPT] or list(self._kept)[:-KEPT_IN_ALL]:
                del self._kept[old]
        return recognizer


def versions(cfg: Config, modes: list[str]) -> dict[str, str]:
    """The version of each mode's recogniser: the names of its files, each with the beginning of its digest."""
    files = {mode: file for mode, _, file in (entry.partition("=") for entry in cfg.serve.modes)}
    return {mode: " ".join(_version(path) for path in (cfg.bundle, files.get(mode)) if path) for mode in modes}


def _version(path: str) -> str:
    files = [Path(path), *(Path(path) / name for name in _OF_FOLDERS)]
    digest = next((digest for file in files if (digest := fingerprints.digest(file))), None)
    return f"{Path(path).name}@{digest[:12]}" if digest else Path(path).name


def _content(options: DecodingOptions) -> Hashable:
    """What has to be compiled, in its order; None if nothing has."""
    new_words = tuple(options.new_words or ())
    if options.word_list is not None:
        assert not isinstance(options.word_list, list)
        return ("words", tuple(dict(options.word_list).items()), new_words)  # type: ignore[arg-type]
    if options.grammar is not None:
        return ("grammar", str(options.grammar), new_words)
    if options.slots:
        return ("slots", options.slots, new_words)
    return ("new words", new_words) if new_words else None


def _compiled(recognizer: Recognizer, options: DecodingOptions) -> Recognizer:
    new_words = options.new_words or ()
    if options.word_list is not None:
        return recognizer.with_list(options.word_list, new_words)
    if options.grammar is not None:
        return recognizer.with_grammar(options.grammar, MOST_STATES, new_words)
    if options.slots:
        return recognizer.with_slots(options.slots, MOST_STATES, new_words)
    return recognizer.with_new_words(new_words)


def _load(cfg: Config, file: str) -> Recognizer:
    recognizer = load(file, cfg.device, cfg.serve.max_audio_s, cfg.g2p.model)
    if recognizer.cfg.features.kind == "stored":
        raise InputError(
            f"{file} takes stored features, not sound, and cannot be served; use a model of logmel or mfcc"
        )
    if cfg.serve.rescore_on_request:  # its language model stays open
        return recognizer.with_decoder(replace(recognizer.cfg.decoder, rescore=None))
    return recognizer


def _of_file(cfg: Config, own: Recognizer, file: str) -> Recognizer:
    """The recogniser of a mode that names an n-gram model, the folder of a graph, a bundle or a run folder."""
    path = Path(file)
    if path.suffix == ".ngram":
        if not isinstance(own.space, DynamicSpace):
            raise InputError(
                f"{file} needs a dynamic graph, and {cfg.bundle} has none; name a bundle or a graph folder"
            )
        return _with_space(own, own.space.with_ngram(path))
    if (path / "stats.json").exists():
        return _with_space(own, SearchSpace.read(path, own.tokens))
    if not path.exists():
        raise InputError(f"serve.modes names {file}, which does not exist; check the path")
    return _load(cfg, file)


def _with_space(own: Recognizer, space: SearchSpace) -> Recognizer:
    return Recognizer(own.model, own.cfg, own.tokens, space, own.device, own.lexicon,  # type: ignore[arg-type]
                      rescorer=own.rescorer, hmm=own.hmm)  # fmt: skip
