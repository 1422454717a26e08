"""The verbs of text, lexicon and pronunciation: see asr/verbs.py."""

from asr.config import Config
from asr.errors import InputError
from asr.inputs import needed_output


def text_clean(cfg: Config) -> None:
    """Texts or manifests -> plain words as they are spoken, with a report of what was changed and dropped.

    asr text clean a.txt.xz b.txt output=clean.txt lang=en [repairs=case,fixes.tsv] [max_repeats=3] [paragraphs=true]
    asr text clean train.jsonl output=clean.jsonl lang=ko

    Reads text files (plain, .gz, .xz), a sentence a line, and manifests. Manifests become one manifest if output ends
    in .jsonl. The report is printed, and written beside the output as OUTPUT.report.json.
    """
    from asr.text.cleaning import clean_files

    if not cfg.input:
        raise InputError("asr text clean needs texts: asr text clean a.txt output=clean.txt lang=en")
    print(clean_files(cfg.input, needed_output(cfg, "the cleaned text"), cfg.text).table(), end="")


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
