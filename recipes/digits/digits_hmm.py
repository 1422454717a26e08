"""Digit strings of a speaker left out of the training, by HMMs that have heard the other five and adapt to the speaker.

`without=NAME` leaves one more speaker out of the training. Settings for NAME's test are chosen on the other five so.
"""

from typing import Annotated

from asr.cli.recipe import VERBS, Recipe
from asr.config import Config
from asr.errors import InputError
from recipes.digits.prepare import STRINGS, Speaker, write_sets


def prepare(
    cfg: Config,
    speaker: Speaker = "theo",
    without: Annotated[str, "another speaker, left out of all sets"] = "",
) -> str:
    """Write the strings, `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    if speaker == without:
        raise InputError(f"without={without} is the speaker of the test set already; name another one")
    source = write_sets(cfg, {**STRINGS, "train": 1000}, speaker, without)
    return f"{source}, without {' and '.join(filter(None, (speaker, without)))}"


def build(recipe: Recipe) -> None:
    """From manifests to a scored test set and a bundle."""
    for verb in ("hmm train", *VERBS[1:]):
        recipe(verb)
