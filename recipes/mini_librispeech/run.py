"""mini_librispeech from the archives to a scored test set and a bundle. Options: any `key=value` of the experiment."""

import sys
from pathlib import Path

from asr.cli.recipe import Recipe

sys.path.append(str(Path(__file__).parent.parent / "librispeech"))
from prepare import prepare

PARTS = {"train": ["train-clean-5"], "dev": ["dev-clean-2"], "test": ["test-clean"]}

recipe = Recipe("mini_librispeech", Path(__file__).parent, sys.argv[1:])
prepare(Path(recipe.cfg.data.dir), PARTS, recipe.cfg.data.root)
recipe.build()
