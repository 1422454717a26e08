"""pansori from the corpus to a scored test set and a bundle. Options: any `key=value` of the experiment."""

import sys
from pathlib import Path

from prepare import prepare

from asr.cli.recipe import Recipe

recipe = Recipe("pansori", Path(__file__).parent, sys.argv[1:])
prepare(Path(recipe.cfg.data.dir), recipe.cfg.data.root)
recipe.build()
