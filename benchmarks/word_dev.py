"""Which net of word mode is best: words right in lists of 100, on the dev sets of `word_clips`, as they are and slower.
No test set is touched.

    OMP_NUM_THREADS=1 python benchmarks/word_dev.py MODEL.asr [MODEL.asr ...]

Finds the corpora as the recipes do, in the folder of ASR_DATA or in ../shared/data. TIMIT's words serve for measuring
alone.
"""

import sys
from collections.abc import Sequence

import numpy as np
from word_clips import Clip, cut_words, digits, score
from word_mode import COMMONEST, fill

import asr
from asr.recognizer.recognizer import Recognizer
from recipes.commands.voices import common_words

DIGITS = 1000
SLOW = (0.5, 0.9)  # tempos: words said alone last longer than those of sentences


def words_right(recognizer: Recognizer, clips: Sequence[Clip], common: Sequence[str]) -> np.ndarray:
    """(N,) bool. Every second tested word is in the first list, the others are in the second one."""
    scored = score(recognizer, clips)
    tested = sorted(set(scored.words))
    right = np.zeros(len(clips), bool)
    for fold in range(2):
        half = set(tested[fold::2])
        own = recognizer.with_list(fill(sorted(half), tested, common))
        for i, (word, log_probs) in enumerate(zip(scored.words, scored.log_probs, strict=True)):
            if word in half:
                right[i] = own.search("", log_probs, 1.0).text == word
    return right


def main(models: Sequence[str]) -> None:
    common = common_words(None, COMMONEST)
    sets = {
        "digits": digits(None, DIGITS),
        "words of TIMIT": cut_words(None),
        "slow digits": digits(None, DIGITS, SLOW),
        "slow words of TIMIT": cut_words(None, SLOW),
    }
    for model in models:
        recognizer = asr.load(model)
        found = {name: words_right(recognizer, clips, common) for name, clips in sets.items()}
        print(
            f"{model}: {100 * np.mean([right.mean() for right in found.values()]):.1f} %; "
            + ", ".join(f"{name} {100 * right.mean():.1f} % of {len(right)}" for name, right in found.items()),
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    main(sys.argv[1:])
