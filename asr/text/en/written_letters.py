"""Grammars of letters that are spoken one by one, and of addresses: u s a -> USA, www dot example dot com."""

import pynini

from asr.text.rewriting import JOINED, SPACE, costing, mapped, maybe, without, words

_SMALL = "abcdefghijklmnopqrstuvwxyz"
_NO_NAMES = "the a an this that me us him her them you it".split()  # the dot com bubble, email me at
_DOMAINS = "com org net edu gov mil io co uk kr de fr jp eu info biz tv us".split()


def letters() -> pynini.Fst:
    """Three and more single letters; two unless the first is also a word: a, i, o. m p three -> MP3."""
    capital = mapped(zip(_SMALL, _SMALL.upper(), strict=True))
    not_word = mapped((letter, letter.upper()) for letter in _SMALL if letter not in "aio")
    not_a = mapped((letter, letter.upper()) for letter in _SMALL if letter != "a")
    article = (
        words(["a"])
        + SPACE
        + mapped((" ".join(pair), pair.upper()) for pair in "tv pc cd dj vp gp us uk un eu".split())
    )
    cities = mapped([("l a", "LA"), ("v a", "VA"), ("p a", "PA")])
    pair = without(not_word + JOINED + not_word, words(["p m"])) | cities
    many = capital + (JOINED + capital) ** 2 | not_a + (JOINED + capital) ** (3, 6)
    many = without(
        many, words(f"{name[0]} {name[1]} i" for name in "tv us uk un eu ok pc cd dj vp am pm".split())
    )  # on t v i saw
    digits = mapped(
        [
            ("m p three", "MP3"),
            ("m p four", "MP4"),
            ("p h d", "PhD"),
            ("a s a p", "ASAP"),
            ("h two o", "H2O"),
            ("c o two", "CO2"),
        ]
    )
    return (pair | many | digits | costing(article, -0.05)).optimize()


def addresses() -> pynini.Fst:
    """w w w dot example dot com -> www.example.com, john dot smith at example dot com -> john.smith@example.com.

    Without a dot in its first part, a mail address needs a word such as "email" before it: "look at example dot com".
    """
    letter = words(_SMALL)
    name = pynini.closure(words(_SMALL + "0123456789-"), 1) - words(_NO_NAMES) | letter + pynini.closure(
        JOINED + letter, 1
    )
    dot, at = pynini.cross(" dot ", "."), pynini.cross(" at ", "@")
    www = pynini.cross("w w w", "www") | words(["www"])
    host = maybe(www + dot) + pynini.closure(name + dot, 1, 3) + words(_DOMAINS)
    path = pynini.closure(pynini.cross(" slash ", "/") + name, 0, 3)
    scheme = maybe(mapped([("https colon slash slash ", "https://"), ("http colon slash slash ", "http://")]))
    joint = dot | mapped([(" underscore ", "_"), (" dash ", "-")])
    mailbox = name + pynini.closure(joint + name, 1, 3)
    announced = words(["email ", "mail "]) + name
    return (scheme + host + path | (mailbox | announced) + at + host).optimize()
