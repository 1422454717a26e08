"""Runs a recipe: from a corpus to a scored recogniser in one file.

    python -m recipes.run                         list the recipes
    python -m recipes.run digits --help           its experiments and its own options
    python -m recipes.run an4 [KEY=VALUE ...]     run one, with any option of the toolkit
    python -m recipes.run digits experiment=unseen speaker=theo,lucas

A recipe is a folder with `prepare.py`, `experiment/*.yaml` and `RESULTS.md`. In `prepare.py`:

    prepare(cfg, ...) -> str    writes manifests and texts below cfg.data.dir; returns where the data came from
    build(recipe)               optional: the verbs to run instead of `Recipe.build`
    USUALLY                     optional: how long each step takes

An experiment that prepares its own data has a module of the same name, as `digits/unseen.py`. Further parameters of
`prepare`, each `Annotated[str, "what it means"]`, are options of the recipe. Several values, separated by commas, make
one run each, in a run folder named after them.
"""

import argparse
import ast
import importlib
import inspect
import itertools
import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from asr.cli.help import explained
from asr.cli.overrides import nearest
from asr.cli.recipe import Recipe
from asr.errors import InputError

RECIPES = Path(__file__).parent
HELP = """\
usage: python -m recipes.run {name} [experiment=CHOICE] [KEY=VALUE ...]

{description}

experiments; without experiment=, {name} is run
{experiments}
{own}
KEY=VALUE is any option of the verbs that the recipe calls, as `asr train --help` or `asr decode --help` lists them:
  data.root=FOLDER   the folder above the corpora, instead of the environment's ASR_DATA
  out=FOLDER         where all files go but those of data.dir, which some experiments set; the recogniser is
                     FOLDER/model.asr; without it exp/EXPERIMENT

Figures and commands: {results}
"""
OWN = """
options of experiments; several values, separated by commas, make one run each
{options}
"""


def list_recipes() -> dict[str, str]:
    """Name -> the first line of its `prepare.py`, which is not imported."""
    paths = sorted(RECIPES.glob("*/prepare.py"))
    return {path.parent.name: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0] for path in paths}


def load_module(name: str, experiment: str) -> ModuleType:
    """The module that prepares the data of an experiment."""
    has_own = (RECIPES / name / f"{experiment}.py").exists()
    return importlib.import_module(f"recipes.{name}.{experiment if has_own else 'prepare'}")


def own_options(module: ModuleType) -> dict[str, inspect.Parameter]:
    """The options that the recipe adds to those of the toolkit: the parameters of `prepare` but its first."""
    return dict(list(inspect.signature(module.prepare).parameters.items())[1:])


def recipe_help(name: str) -> str:
    """What the recipe does, its experiments, its own options and the folder of its results."""
    description = ast.get_docstring(ast.parse((RECIPES / name / "prepare.py").read_text())) or ""
    paths = {path.stem: path for path in sorted((RECIPES / name / "experiment").glob("*.yaml"))}
    options = "\n".join(line for experiment in paths for line in _option_lines(name, experiment))
    return HELP.format(
        name=name,
        description=description.strip(),
        experiments=explained("experiment", paths),
        own=OWN.format(options=options) if options else "",
        results=(RECIPES / name / "RESULTS.md").relative_to(RECIPES.parent),
    )


def _option_lines(name: str, experiment: str) -> Iterator[str]:
    module = load_module(name, experiment)
    hints = get_type_hints(module.prepare, include_extras=True)
    for option, parameter in own_options(module).items():
        value = f"{option}={'...' if parameter.default is parameter.empty else parameter.default}"
        line = f"  {f'experiment={experiment} {value}':44}{hints[option].__metadata__[0]}"
        yield textwrap.fill(line, 120, subsequent_indent=" " * 46)


def split_words(words: Sequence[str], own: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The recipe's own options with their values, and the overrides of the toolkit's options."""
    pairs = {word: word.partition("=") for word in words}
    options = {key: value.split(",") for key, _, value in pairs.values() if key in own}
    return options, [word for word, (key, _, _) in pairs.items() if key not in own]


def run(name: str, words: Sequence[str]) -> None:
    """Run the recipe `name`. Raises InputError for an unknown option, and SystemExit if a verb fails."""
    experiment = next((word.partition("=")[2] for word in words if word.startswith("experiment=")), name)
    overrides = [word for word in words if not word.startswith("experiment=")]
    module = load_module(name, experiment)
    own = own_options(module)
    options, overrides = split_words(overrides, [*own])
    needed = [option for option, parameter in own.items() if parameter.default is parameter.empty]
    if missing := next((option for option in needed if option not in options), None):
        raise InputError(f"experiment={experiment} needs {missing}=VALUE; see `python -m recipes.run {name} --help`")
    runs = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    rates = [run_once(name, experiment, module, overrides, chosen) for chosen in runs]
    if len(runs) > 1 and not any(map(math.isnan, rates)):
        print(*(f"{' '.join(chosen.values())} {rate:.2%}" for chosen, rate in zip(runs, rates, strict=True)), sep="\n")
        print(f"mean WER of {len(rates)} runs: {sum(rates) / len(rates):.2%}")


def run_once(
    name: str, experiment: str, module: ModuleType, overrides: Sequence[str], options: dict[str, str]
) -> float:
    """One run; returns its WER, NaN for a recipe without a test."""
    usually = getattr(module, "USUALLY", {})
    recipe = Recipe(experiment, RECIPES / name, overrides, usually)
    if options:
        out = "-".join([recipe.cfg.out, *options.values()])
        recipe = Recipe(experiment, RECIPES / name, [*overrides, f"out={out}"], usually)
    print(f"{name}: {list_recipes()[name]}\nAll files go to {recipe.cfg.out}.")
    recipe.prepare(partial(module.prepare, **options), options)
    getattr(module, "build", Recipe.build)(recipe)
    wer = recipe.result().get("wer")
    return math.nan if wer is None else wer


def prepared(name: str, words: Sequence[str], out: str) -> tuple[str, Recipe]:
    """The experiment that `words` name, and its recipe with the data prepared, for a benchmark. `out`: the run folder,
    with {} for the experiment; words win over it."""
    experiment = next((word.partition("=")[2] for word in words if word.startswith("experiment=")), name)
    module = load_module(name, experiment)
    own, given = split_words(words, [*own_options(module)])
    given = [word for word in given if not word.startswith("experiment=")]
    recipe = Recipe(experiment, RECIPES / name, [f"out={out.format(experiment)}", *given])
    options = {key: values[0] for key, values in own.items()}
    recipe.prepare(partial(module.prepare, **options), options)
    return experiment, recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    parser = argparse.ArgumentParser("python -m recipes.run", description=__doc__, add_help=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("recipe", nargs="?", help="left out: list the recipes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="any option of the experiment")
    parser.add_argument("-h", "--help", action="store_true", help="print this help or, behind a recipe, the recipe's")
    words = parser.parse_intermixed_args(argv)
    try:
        if find_spec("asr._ctc") is None:
            raise InputError("the package asr in this folder is not built, and hides the installed one; install it "
                             "with `pip install -e .`, as `make demo` does")  # fmt: skip
        known = list_recipes()
        if words.recipe and words.recipe not in known:
            hint = nearest(words.recipe, known) or "; there are: " + ", ".join(known)
            raise InputError(f"there is no recipe '{words.recipe}'{hint}")
        if words.help:
            print(recipe_help(words.recipe) if words.recipe else parser.format_help(), end="")
        elif words.recipe:
            run(words.recipe, words.overrides)
        else:
            print(*(f"{name:18}{line}" for name, line in known.items()), sep="\n")
        return 0
    except InputError as e:
        print(f"recipes: error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recipes: stopped; the same command continues from the last finished step", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
