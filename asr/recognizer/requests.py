"""What a configuration asks of an open recogniser: a list, a grammar, new words, phrases and a language."""

from typing import TYPE_CHECKING

from asr.config import Config
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer


def requested(recognizer: "Recognizer", cfg: Config) -> "Recognizer":
    """The recogniser for the word list or the grammar that `cfg` names, or with its new words."""
    from asr.graph.lists import read_list
    from asr.search.new_words import read_new_words

    kind = cfg.graph.kind
    for option, wanted in (("words", "word"), ("grammar", "grammar")):
        if kind != wanted and (path := getattr(cfg.graph, option)):
            raise InputError(f"graph.{option}={path} needs graph.kind={wanted}; add graph={wanted}")
    new_words = read_new_words(cfg.new_words) if cfg.new_words else []
    if kind in ("word", "grammar"):
        path = cfg.graph.words if kind == "word" else cfg.graph.grammar
        if path is None:
            raise InputError(f"graph={kind} needs a file: graph.{'words' if kind == 'word' else 'grammar'}=FILE")
        if cfg.fill_slots:
            raise InputError(f"fill_slots={cfg.fill_slots} needs a dynamic graph; put the words into {path}")
        listed = read_list(path) if kind == "word" else None
        return recognizer.with_list(listed, new_words) if listed else recognizer.with_grammar(path, new_words=new_words)
    if cfg.fill_slots:
        return recognizer.with_slots(cfg.fill_slots, new_words=new_words)
    return recognizer.with_new_words(new_words) if cfg.new_words else recognizer


def phrases_of(cfg: Config) -> dict[str, float] | None:
    """The phrases to boost, from the file `cfg.phrases`, with their boosts in nats."""
    from asr.search.phrases import read_phrases

    return read_phrases(cfg.phrases, cfg.boost, cfg.boost_per_word) if cfg.phrases else None


def named_language(cfg: Config) -> str | None:
    """The language of written forms and punctuation; None: told by the recogniser's words."""
    return None if cfg.spoken_language == "auto" else cfg.spoken_language
