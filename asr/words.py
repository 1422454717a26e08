"""The definition of a word of a text, and the marks that language models and graphs add to the words."""

from asr.errors import InputError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
MARKS = (UNKNOWN, BEGIN, END)
EPSILON = "<eps>"  # in graphs: no word


def is_slot(word: str) -> bool:
    """Whether `word` is a slot, such as `<name>`: a place that a request fills with words. A slot is never spoken."""
    return len(word) > 2 and word[0] == "<" and word[-1] == ">" and not mark_of(word)


def mark_of(word: str) -> str | None:
    """The mark that `word` spells: `<unk>`, `<s>` and `</s>` in any case, and `[unk]`, which is `<unk>`.

    Tools spell the unknown word `<unk>` (KenLM, SRILM), `<UNK>` (Kaldi, SRILM's -map-unk, CMU) or `[unk]` (Vosk).
    """
    if word[:1] not in ("<", "["):
        return None
    mark = word.lower() if word.isascii() else word
    mark = UNKNOWN if mark == "[unk]" else mark
    return mark if mark in MARKS else None


def plain_mark(word: str) -> str:
    """`word`, or the mark that it spells."""
    return mark_of(word) or word


def check_words(sentence: str, where: str) -> str:
    """Returns the sentence. Raises InputError, beginning with `where`, if it contains a mark or a NUL character."""
    if ("<" in sentence or "[" in sentence) and (found := next(filter(mark_of, sentence.split()), None)):
        raise InputError(f"{where}: the text contains '{found}', a mark that language models add; remove or rename it")
    if "\0" in sentence:
        raise InputError(f"{where}: the text contains a NUL character; remove it")
    return sentence


def check_word(word: str, where: str) -> str:
    """Returns the word. Raises InputError, beginning with `where`, if it is neither a mark nor a word of a text."""
    if word.split() != [word] or "\0" in word or word == EPSILON or not _is_utf8(word):
        raise InputError(
            f"{where}: {word!r} cannot be a word; a word is UTF-8 without white space or NUL, not empty, not {EPSILON}"
        )
    return word


def check_text(text: str, where: str) -> str:
    """Returns the text. Raises InputError, beginning with `where`, for a text that csrc/lm rejects."""
    check_words(text, where)
    if EPSILON in text.split():
        raise InputError(f"{where}: the text contains '{EPSILON}', the mark for no word in graphs; remove or rename it")
    if not _is_utf8(text):
        raise InputError(f"{where}: the text contains half of a surrogate pair, which is not a character; remove it")
    return text


def _is_utf8(text: str) -> bool:
    """Whether `text` can be encoded, that is, contains no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
