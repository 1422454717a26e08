"""commands from corpora to a recogniser of words out of any list. Options: any `key=value` of the experiment.

python recipes/commands/run.py && python benchmarks/word_mode.py
"""

import copy
import sys
from pathlib import Path

from prepare import prepare

from asr.cli.recipe import Recipe
from asr.config import Config
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle, run_folder
from asr.training.trainer import load_model


def give_ears(cfg: Config) -> None:
    """The bundle: the trained net behind the front end that its stored features came from, so that it hears sound."""
    cfg = copy.deepcopy(run_folder.as_trained(cfg))
    trained, tokens = load_model(cfg)
    cfg.features.kind = "logmel"
    model = AcousticModel(cfg.features, cfg.model, len(tokens))
    model.load_state_dict(trained.state_dict())
    bundle.write(cfg.bundle, model, cfg, tokens, None, run_folder.card(cfg))


if __name__ == "__main__":
    recipe = Recipe("commands", Path(__file__).parent, sys.argv[1:])
    if not (Path(recipe.cfg.data.dir) / "train.jsonl").exists():
        prepare(Path(recipe.cfg.data.dir), recipe.cfg.data.root, recipe.cfg.features)
    recipe("train")
    give_ears(recipe.cfg)
    print("The recogniser is one file:", recipe.cfg.bundle)
