"""What a caller asks of the recogniser, checked: the fields that requests and live streams share."""

from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

from asr.recognizer.options import DecodingOptions
from asr.search.new_words import NewWord
from asr.serve.errors import Refused
from asr.serve_options import ServeConfig
from asr.text.clean import LANGUAGES

LETTERS = 100  # per entry that is allowed
MOST_SLOTS = 100
MOST_ORDER = 8  # of a second pass over lattices: with more, a neural model may split them without end


class _FirstOnly(FailFast):
    """Ends the check of a list or object at its first wrong entry: an error for each of a million takes a minute."""

    __hash__ = object.__hash__  # needed in unions


FIRST_ONLY = _FirstOnly()
_Filler = Annotated[list[str], FIRST_ONLY] | Annotated[dict[str, float], FIRST_ONLY] | str  # of a slot


class AskedWord(BaseModel):
    """A word that the language model lacks."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    word: str
    pronunciation: str | None = Field(None, description="units separated by spaces; null: guessed from the spelling")
    slot: str | None = Field(None, description="slot of the language model that the word fills, as <name>")


class Asked(BaseModel):
    """Words, phrases and limits of one request. Unknown fields are refused: a misspelt one would change the words."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mode: str | None = Field(
        None, description="word, dictation, web or local; null: word with words or a grammar, otherwise dictation"
    )
    words: Annotated[list[str], FIRST_ONLY] | Annotated[dict[str, float], FIRST_ONLY] | None = Field(
        None, description="the utterance is exactly one of these; an object gives weights",
        examples=[["turn on", "turn off"], {"turn on": 2.0, "turn off": 1.0}],
    )  # fmt: skip
    grammar: str | None = Field(None, description="the utterance is a sentence of this JSGF grammar")
    phrases: Annotated[dict[str, float], FIRST_ONLY] | None = Field(
        None, description="phrases to boost, each with its boost in nats", examples=[{"turn on": 2.0}]
    )
    new_words: Annotated[list[AskedWord | str], FIRST_ONLY] | None = Field(
        None, description="words to add to a dynamic graph, or pronunciations of those of the list or grammar",
        examples=[["Zoe", {"word": "Zoe", "pronunciation": "Z OW IY"}]],
    )  # fmt: skip
    nbest: int | None = Field(None, ge=1, le=100, description="number of readings to return")
    mbr: bool | None = Field(
        None, description="the words of least expected word errors; null: as the recogniser's decoder.mbr"
    )
    confusion: bool | None = Field(
        None, description="the words that compete at each place; null: as the recogniser's decoder.confusion"
    )
    reject_below: float | None = Field(None, ge=0, le=1, description="words of lower confidence are left out of text")
    remove: Annotated[list[str], FIRST_ONLY] | None = Field(
        None, description="words left out of text, such as fillers; null: those of the recogniser; [] leaves all in",
        examples=[["uh", "um"]],
    )  # fmt: skip
    written: bool = Field(False, description="numbers, dates, amounts and letters as they are written")
    punctuate: bool = Field(False, description="commas, full stops, question marks and, in English, capital letters")
    language: Literal["en", "ko"] | None = Field(
        None, description="that of written and punctuate; null: that of the service, or told by the words"
    )
    slots: Annotated[dict[str, _Filler], FIRST_ONLY] | None = Field(
        None, description="what fills each slot of the language model, as <name>: words, an object with weights, or a "
        "JSGF grammar; needs a dynamic graph", examples=[{"<name>": ["Ann", "Bob"]}],
    )  # fmt: skip
    rescore: bool | None = Field(
        None, description="whether the recogniser's second language model ranks the readings anew; null: as its "
        "decoder.rescore"
    )  # fmt: skip
    rescore_order: int | None = Field(
        None, ge=0, le=MOST_ORDER, description="0: it ranks the best readings; otherwise all paths of the lattice; "
        "null: as the recogniser's decoder.rescore_order"
    )  # fmt: skip

    def options(self, cfg: ServeConfig) -> DecodingOptions:
        """Raises Refused(400) beyond the limits of `cfg`, and InputError for what the recogniser does not take."""
        limit("words", self.words, cfg.max_words)
        limit("new_words", self.new_words, cfg.max_words)
        limit("remove", self.remove, cfg.max_words)
        limit("phrases", self.phrases, cfg.max_phrases)
        if self.grammar is not None and not self.grammar.lstrip("\ufeff \t\r\n").startswith("#JSGF"):
            # Any other text would be taken for the path of a grammar.
            raise Refused(400, "grammar must be the text of a JSGF grammar, which begins with #JSGF", param="grammar")
        if self.grammar is not None and len(self.grammar) > LETTERS * cfg.max_words:
            raise Refused(400, f"grammar has more than {LETTERS * cfg.max_words} letters; send less", param="grammar")
        self._limit_slots(cfg)
        closed = [name for name in ("words", "grammar", "slots") if getattr(self, name)]
        if len(closed) > 1 and "words" in closed:  # which the recogniser calls otherwise
            raise Refused(400, f"{' and '.join(closed)} exclude each other; send one of them")
        return DecodingOptions(
            nbest=self.nbest,
            mbr=self.mbr,
            confusion=self.confusion,
            phrases=self.phrases,
            new_words=[_new_word(word) for word in self.new_words] if self.new_words else None,
            word_list=self.words,
            grammar=self.grammar,
            reject_below=self.reject_below,
            remove=self.remove,
            written=self.written,
            punctuate=self.punctuate,
            language=self.language or known_language(cfg),
            slots=self.slots,
            rescore=self.rescore,
            rescore_order=self.rescore_order,
        )

    def _limit_slots(self, cfg: ServeConfig) -> None:
        slots = self.slots or {}
        for slot, filler in slots.items():
            if isinstance(filler, str) and not filler.lstrip("\ufeff \t\r\n").startswith("#JSGF"):
                raise Refused(400, f"the slot {slot} must be a list, an object, or the text of a JSGF grammar, which "
                              "begins with #JSGF", param="slots")  # fmt: skip
        limit("slots", [*chain.from_iterable(x for x in slots.values() if not isinstance(x, str))], cfg.max_words)
        letters = sum(len(filler) for filler in slots.values() if isinstance(filler, str))
        if letters > LETTERS * cfg.max_words or len(slots) > MOST_SLOTS:
            raise Refused(400, f"slots has more than {MOST_SLOTS} slots, or grammars of more than "
                          f"{LETTERS * cfg.max_words} letters; send less", param="slots")  # fmt: skip


def known_language(cfg: ServeConfig) -> str | None:
    """The language that the service declares, if it has written forms and punctuation."""
    return cfg.language if cfg.language in LANGUAGES else None


def _new_word(asked: AskedWord | str) -> NewWord:
    if isinstance(asked, str):
        return NewWord(asked)
    return NewWord(asked.word, (tuple(asked.pronunciation.split()),) if asked.pronunciation else (), asked.slot)


def limit(name: str, given: Any, most: int) -> None:
    """Raises Refused(400) for more than `most` entries, and for entries that are long beyond all words."""
    if given is None:
        return
    if len(given) > most:
        raise Refused(400, f"{name} has {len(given)} entries, more than {most}; send fewer", param=name)
    length = sum(len(entry) for entry in given if isinstance(entry, str))
    if length > LETTERS * most:
        raise Refused(400, f"{name} has {length} letters, more than {LETTERS * most}; send less", param=name)
