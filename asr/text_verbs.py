"""The verbs of text, lexicon and pronunciation: see asr/verbs.py."""

from asr.config import Config
from asr.inputs import needed_output


def lexicon(cfg: Config) -> None:
    """Pronunciations out of the CMU dictionary for the words of texts. English, 39 phones.

    asr lexicon [text.txt ...] output=lexicon.txt

    Without text it takes that of the training manifest. Words that the dictionary lacks are named and left out.
    """
    from asr.lm.texts import sentences
    from asr.text.lexicon import Lexicon

    path = needed_output(cfg, "the lexicon")
    words = dict.fromkeys(word for line in sentences(cfg.input or [cfg.data.train]) for word in line.split())
    found = Lexicon.cmudict(words)
    found.write(path)
    print(f"{len(found)} of {len(words)} words -> {path}")
