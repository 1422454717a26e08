"""The verbs `asr align ...`: see asr/cli/verbs.py."""

from asr.config import Config


def align(cfg: Config) -> None:
    """Finds where the words and tokens of transcribed speech begin and end, and how well they fit.

    asr align MODEL.asr MANIFEST ... output=FILE.jsonl|FILE.ctm|FOLDER/ [level=tokens] [lexicon=LEXICON]
    asr align out=RUN MANIFEST ... output=FILE.jsonl|FILE.ctm|FOLDER/

    A folder gets a TextGrid for Praat for each utterance; a .jsonl file is the manifest with an alignment per line;
    `level=tokens` writes a CTM of phones or letters. All pronunciations of a word compete, those of the lexicon, of the
    model's graph, or of the pronunciation model. A word without any stands for any sound. Pauses need no mark in the
    text; `fillers=um,uh` may be heard between words. The model needs no graph. FILE.npz has the output of each frame,
    for criterion=ce: the token or blank, or the state, for the run folder of HMMs, whose words need a pronunciation.

    Utterances that cannot be aligned or have a score below `min_score` are named and set aside. Suspicious ones are
    listed in OUTPUT.suspicious.tsv (FOLDER/suspicious.tsv), the worst first. Clean the texts as those of the training.
    """
    from asr.align.run import align

    print(f"{align(cfg).table()}-> {cfg.output}")


def align_long(cfg: Config) -> None:
    """Cuts a long recording with its text, which may differ in places, into utterances with their texts.

    asr align long MODEL.asr RECORDING TEXT.txt output=FILE.jsonl|FILE.ctm|FOLDER/ [longest_s=15] [min_score=0.2]
    asr align long out=RUN RECORDING TEXT.txt output=FILE.jsonl|FILE.ctm|FOLDER/

    The recording may be of any length, such as a chapter of a book. Words of the text that are not spoken and speech
    that the text lacks are left out, and listed in OUTPUT.suspicious.tsv with the doubtful utterances. Utterances end
    at pauses, and wherever something was left out. FILE.jsonl is a manifest for training, with the alignment of each
    utterance. Clean the text as those of the training: asr text clean book.txt output=clean.txt.
    """
    from asr.align.run import align_long

    print(f"{align_long(cfg).table()}-> {cfg.output}")
