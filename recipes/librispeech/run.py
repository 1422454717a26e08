"""librispeech from the archives to scored test sets and a bundle. Options: any `key=value` of the experiment."""

import sys
from pathlib import Path

from prepare import prepare

from asr.cli.recipe import Recipe

PARTS = {
    "train": ["train-clean-100", "train-clean-360", "train-other-500"],
    "dev": ["dev-clean", "dev-other"],
    "test": ["test-clean"],
    "test-other": ["test-other"],
}

recipe = Recipe("librispeech", Path(__file__).parent, sys.argv[1:])
data = Path(recipe.cfg.data.dir)
prepare(data, PARTS, recipe.cfg.data.root)
recipe.build()
other = [f"data.test={data / 'test-other.jsonl'}", f"score.dir={recipe.cfg.out}/score-other"]
recipe("decode", *other)
recipe("score", *other)
