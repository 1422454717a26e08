"""The spellings of the words of a text in the tokens of a net."""

from collections.abc import Iterable, Sequence

from asr.align.network import GARBAGE, Spelling
from asr.config import G2pConfig
from asr.errors import InputError
from asr.g2p.pronunciation import pronunciations
from asr.recognizer.recognizer import Recognizer
from asr.text.ko.phones import are_korean
from asr.text.lexicon import Lexicon, Spelled, name_some
from asr.tokens import Tokens

_VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())  # of the CMU dictionary


class Pronouncing:
    """Spells words by a lexicon, the graph's lexicon, the letters, or a pronunciation model: the first that can.

    A word that none can spell is `GARBAGE`: any sound.
    """

    def __init__(self, recognizer: Recognizer, lexicon: Lexicon | None, g2p: G2pConfig, tokens: Tokens | None = None):
        """`tokens`: the units of pronunciations; None: the net's tokens.

        Raises InputError if no pronunciation of `lexicon` is in them.
        """
        self.tokens, self.unit, self.g2p = tokens or recognizer.tokens, recognizer.cfg.tokens.unit, g2p
        self.space = recognizer.space
        self.lexicon = lexicon or recognizer.lexicon
        if self.lexicon and not any(unit in self.tokens for unit in self.lexicon.units()):
            raise InputError(f"the lexicon's units ({name_some(self.lexicon.units())}) are not those of the model "
                             f"({name_some(self.tokens.symbols[1:])}); map them first")  # fmt: skip
        is_default = self.unit == "phone" and g2p.model == "default"  # of Korean or of the CMU dictionary's phones
        self._can_guess = (
            not is_default or len(_VOWELS.intersection(self.tokens.symbols)) > 1 or are_korean(self.tokens.symbols)
        )
        self._spelled: dict[str, list[Spelling]] = {}

    def learn(self, words: Iterable[str]) -> list[str]:
        """Spell the words that are new, all at once; returns those without a pronunciation."""
        fresh = [word for word in dict.fromkeys(words) if word not in self._spelled]
        known = self._usable(self.space.known(fresh, self.tokens)) if self.space else {}
        if self.space and self.unit == "phone":
            known |= self._usable(self.space.by_pieces(fresh, self.tokens))
        known |= self._usable(self.lexicon.listed(fresh)) if self.lexicon else {}
        weights = self.space.probabilities(known, self.tokens) if self.space else {}
        weights |= self.lexicon.weights(known) if self.lexicon else {}
        known |= self._usable(self._guess([word for word in fresh if word not in known]))
        costs = Lexicon(known, weights).cost if known else None
        for word in fresh:
            variants = known.get(word, [])
            self._spelled[word] = [
                Spelling(tuple(self.tokens.encode(units)), costs(word, units)) for units in variants if costs
            ] or [Spelling((GARBAGE,))]
        return [word for word in fresh if word not in known]

    def spellings(self, word: str) -> Sequence[Spelling]:
        """The spellings of a word that `learn` has been given."""
        return self._spelled[word]

    def _guess(self, words: Sequence[str]) -> Spelled:
        """Of each word by itself if they cannot be spelled together, since one without letters stops all."""
        if not words or not self._can_guess:
            return {}
        try:
            return pronunciations(words, self.unit, {}, self.g2p, self.tokens)
        except InputError:
            if len(words) == 1:
                return {}
        half = len(words) // 2
        return self._guess(words[:half]) | self._guess(words[half:])

    def _usable(self, spelled: Spelled) -> Spelled:
        return {word: kept for word, variants in spelled.items() if (kept := _in_tokens(variants, self.tokens))}


def _in_tokens(variants: Sequence[tuple[str, ...]], tokens: Tokens) -> list[tuple[str, ...]]:
    return [units for units in variants if units and all(unit in tokens for unit in units)]


def remark_on(unknown: Sequence[str]) -> str:
    """What becomes of words without a pronunciation, and the ways out."""
    return (
        f"{len(unknown)} words without a pronunciation stand for any sound: {name_some(unknown)}; `asr text clean` "
        "makes plain words of written texts, and lexicon=FILE pronounces others"
    )
