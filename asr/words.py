"""What can be a word of a text, and the marks that language models and graphs add to the words themselves."""

from asr.errors import InputError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


MARKS = (UNKNOWN, BEGIN, END)


EPSILON = "<eps>"  # what graphs call the lack of a word


def is_slot(word: str) -> bool:
    """Whether it is a place that a request fills with words, such as `<name>`, and nothing that is said itself."""
    return len(word) > 2 and word[0] == "<" and word[-1] == ">" and word not in MARKS


def check_words(sentence: str, where: str) -> str:
    """The sentence itself. Raises InputError, beginning with `where`, if it holds one of the model's own marks."""
    if "<" in sentence and (found := next((word for word in sentence.split() if word in MARKS), None)):
        raise InputError(f"{where}: the text holds '{found}', which the model adds itself; remove or rename it")
    if "\0" in sentence:
        raise InputError(f"{where}: the text holds a NUL character; remove it")
    return sentence


def check_word(word: str, where: str) -> str:
    """The word itself, a mark or one that a line of text can hold; else raises InputError, beginning with `where`."""
    if word.split() != [word] or "\0" in word or word == EPSILON or not _is_utf8(word):
        raise InputError(
            f"{where}: {word!r} cannot be a word; words are UTF-8 without white space or NUL, not empty, not {EPSILON}"
        )
    return word


def check_text(text: str, where: str) -> str:
    """The text itself. Raises InputError, beginning with `where`, for what csrc/lm refuses."""
    check_words(text, where)
    if EPSILON in text.split():
        raise InputError(f"{where}: the text holds '{EPSILON}', which means no word in graphs; remove or rename it")
    if not _is_utf8(text):
        raise InputError(f"{where}: the text holds half of a surrogate pair, which is no character; remove it")
    return text


def _is_utf8(text: str) -> bool:
    """Whether it can be encoded: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
