"""The verbs `asr text ...`, `asr lexicon ...` and `asr g2p ...`: see asr/cli/verbs.py."""

from typing import TYPE_CHECKING

from asr.cli.inputs import needed_output, only_input
from asr.config import Config
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.g2p.pronunciation import Guesser


def text_clean(cfg: Config) -> None:
    """Cleans texts or manifests to plain words as they are spoken, and reports the changes and the dropped lines.

    asr text clean a.txt.xz b.txt output=clean.txt lang=en [repairs=case,fixes.tsv] [max_repeats=3] [paragraphs=true]
    asr text clean train.jsonl output=clean.jsonl lang=ko

    Reads texts (plain or compressed) with one sentence per line, and manifests. If output ends in .jsonl, all inputs
    must be manifests, and become one manifest. The report is printed and written to OUTPUT.report.json.
    """
    from asr.text.cleaning import clean_files

    if not cfg.input:
        raise InputError("asr text clean needs texts: asr text clean a.txt output=clean.txt lang=en")
    report = clean_files(cfg.input, needed_output(cfg, "the cleaned text"), cfg.text)
    print(report.table(), end="")
    if not report.kept_texts and (report.texts or report.dropped):
        raise InputError(f"{', '.join(cfg.input)}: 0 sentences kept; the report above gives the reasons")


def text_split(cfg: Config) -> None:
    """Cuts the words of texts into pieces, for a language model and a graph whose vocabulary is open to new words.

    asr text split a.txt train.jsonl output=a.pieces [pieces=morphemes|MODEL]

    `나는 학교에 갔다` becomes `▁나 는 ▁학교 에 ▁갔 다`: `▁` begins a word. `asr lm train text=a.pieces` estimates a
    model of pieces; `asr graph` and all other verbs join them to words. `morphemes` are Korean and need kiwipiepy;
    MODEL is a file of SentencePiece. Clean the texts first.
    """
    from asr.text.split import split_files

    if not cfg.input:
        raise InputError("asr text split needs texts: asr text split a.txt output=a.pieces")
    path = needed_output(cfg, "the text in pieces")
    num_sentences, num_words, num_pieces = split_files(cfg.input, path, cfg.text.pieces)
    print(f"{num_sentences:,} sentences, {num_words:,} words in {num_pieces:,} pieces -> {path}")


def text_write(cfg: Config) -> None:
    """Writes spoken words as they are written: numbers, dates, times, amounts, units and letters.

    asr text write words.txt output=written.txt lang=en|ko

    The opposite of the numbers in `asr text clean`. Reads texts (plain or compressed) with one sentence per line; each
    gives a line.
    """
    from asr.files import atomic_write, keep_inputs
    from asr.manifest import is_manifest
    from asr.text.written import written
    from asr.textfiles import lines

    path = needed_output(cfg, "the written text")
    source = only_input(cfg, "a text")
    keep_inputs([path], [source])
    if is_manifest(source):
        raise InputError(f"{source} is a manifest; asr text write takes a text, one sentence per line")
    changed = total = 0
    with atomic_write(path) as file:
        for _, line in lines(source, "text", "one sentence per line"):
            form = written(line, cfg.text.lang)
            file.write(f"{form}\n")
            total, changed = total + 1, changed + (form != " ".join(line.split()))
    print(f"{changed:,} of {total:,} sentences changed -> {path}")


def lexicon(cfg: Config) -> None:
    """Writes a lexicon for words of texts: English from the CMU dictionary (39 phones), Korean by rules (46 phones).

    asr lexicon [text.txt ...] output=lexicon.txt [nbest=N] [g2p.model=default|none|FILE]
    asr lexicon [text.txt ...] output=lexicon.txt lang=ko [nbest=N] [min_probability=P]

    Without text it takes the words of the training manifest. A pronunciation model guesses the words that the
    dictionary lacks; g2p.model=none leaves them out. A warning names them. With nbest above 1, the lexicon has the
    probabilities of the pronunciations.
    """
    from asr.g2p.pronunciation import guesser
    from asr.text.lexicon import Lexicon

    path = needed_output(cfg, "the lexicon")
    words = _words(cfg.input or [cfg.data.train])
    if cfg.text.lang == "ko" and cfg.g2p.model == "default":
        cfg.g2p.model = "ko"
    guess = guesser(cfg.g2p)
    if guess and cfg.g2p.model == "ko":
        return _write_guessed(words, guess, path)
    found = Lexicon.cmudict(words, guess)
    Lexicon(found.pronunciations, guess.probabilities if guess else None).write(path)
    print(f"{len(found)} of {len(words)} words -> {path}")


def lexicon_fit(cfg: Config) -> None:
    """Fits a lexicon to an acoustic model: pronunciations and their probabilities from transcribed speech.

    asr lexicon fit MODEL.asr lexicon=LEXICON output=FITTED [MANIFEST ...]
    asr lexicon fit out=RUN lexicon=LEXICON output=FITTED [MANIFEST ...]

    For models whose phones or habits differ from the dictionary's, such as those of `asr import`. Each transcript is
    aligned with the lexicon, and what the model says in the frames of a word competes with the word's pronunciations.
    Words that are not heard keep theirs. All changes are written to OUTPUT.changes.tsv. Without a manifest it takes the
    training manifest.
    """
    from asr import pipeline

    path = needed_output(cfg, "the fitted lexicon")
    fitted = pipeline.fit_lexicon(cfg, cfg.input)
    fitted.lexicon.write(path)
    fitted.write_changes(f"{path}.changes.tsv")
    print(f"{fitted.table()}-> {path}, {path}.changes.tsv")


def g2p_train(cfg: Config) -> None:
    """Trains a pronunciation model on a lexicon, for words that the lexicon does not list.

    asr g2p train lexicon.txt output=g2p.npz [order=8]

    The language must be written in letters from left to right. `asr g2p apply` and `asr lexicon` use the model.
    """
    from asr.g2p.model import G2p
    from asr.text.lexicon import Lexicon

    path = needed_output(cfg, "the pronunciation model")
    lexicon = Lexicon.read(only_input(cfg, "a lexicon"))
    model = G2p.train(lexicon, cfg.g2p.order, cfg.g2p.max_letters, cfg.g2p.max_units)
    model.write(path)
    ngrams = sum(len(ngrams.ids) for ngrams in model.model.orders)
    print(f"{len(lexicon)} words, {len(model.letters)} letters, {len(model.units)} units, {len(model.chunks)} chunks, "
          f"{ngrams} n-grams -> {path}")  # fmt: skip


def g2p_apply(cfg: Config) -> None:
    """Pronounces the words of texts with a pronunciation model, or with the rules of Korean.

    asr g2p apply words.txt output=lexicon.txt [g2p.model=ko|FILE] [nbest=N] [min_probability=P]

    The model is English unless `g2p.model` is ko or names a file written by `asr g2p train`. Words with letters that
    it does not know are named and left out. With nbest above 1, the lexicon has the pronunciations' probabilities.
    """
    from asr.g2p.pronunciation import guesser

    path = needed_output(cfg, "the lexicon")
    if not cfg.input:
        raise InputError("asr g2p apply needs words: asr g2p apply words.txt output=lexicon.txt")
    guess = guesser(cfg.g2p)
    if guess is None:
        raise InputError("g2p.model is none; set it to default for English, to ko for Korean, or to a file written by "
                         "`asr g2p train`")  # fmt: skip
    _write_guessed(_words(cfg.input), guess, path)


def _write_guessed(words: list[str], guess: "Guesser", path: str) -> None:
    """Raises InputError if no word has a pronunciation."""
    from asr.text.lexicon import Lexicon, name_some

    found = guess(words)
    left_out = [word for word in words if word not in found]
    if not found:
        raise InputError(f"the model does not know the letters of any of the {len(words)} words ({name_some(words)})")
    Lexicon(found, guess.probabilities).write(path)
    if left_out:
        print(f"left out, with letters that the model does not know: {name_some(left_out)}")
    print(f"{len(found)} of {len(words)} words -> {path}")


def _words(paths: list[str]) -> list[str]:
    """The different words of the texts, in order of first use. Raises InputError if there is none."""
    from asr.lm.texts import sentences

    words = list(dict.fromkeys(word for line in sentences(paths) for word in line.split()))
    if not words:
        raise InputError(f"{', '.join(paths)}: there is no word to pronounce")
    return words
