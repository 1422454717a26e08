"""make demo: digit strings from recordings to a recogniser. Options: any `key=value` of the experiment.

python recipes/digits/run.py                       speakers known, recordings new
python recipes/digits/run.py --without theo        theo is heard in the test alone
python recipes/digits/run.py --without-each        once for every speaker; prints the mean
"""

import argparse
from pathlib import Path

from prepare import find_digits, prepare
from unseen import prepare_unseen

from asr.cli.recipe import Recipe

HERE = Path(__file__).parent


def run(overrides: list[str]) -> Recipe:
    """A recogniser for known speakers, from recordings to a scored test set and a bundle."""
    recipe = Recipe("digits", HERE, overrides)
    print("\n==", prepare(Path(recipe.cfg.data.dir), recipe.cfg.data.root))
    recipe.build()
    return recipe


def run_without(speaker: str, overrides: list[str]) -> float:
    """The WER on a speaker whom the recogniser never heard."""
    out = Recipe("unseen", HERE, overrides).cfg.out
    recipe = Recipe("unseen", HERE, [*overrides, f"out={out}-{speaker}"])
    print("\n==", prepare_unseen(Path(recipe.cfg.data.dir), recipe.cfg.data.root, speaker))
    recipe.build()
    wer = recipe.result()["wer"]
    print(f"WER on {speaker}, never heard before: {wer:.2%}")
    return wer


def demonstrate(overrides: list[str]) -> None:
    """Build the recogniser and let it write down one recording that it never heard."""
    recipe = run(overrides)
    bundle, example = recipe.cfg.bundle, sorted((Path(recipe.cfg.data.dir) / "test").glob("*.flac"))[0]
    recipe("transcribe", bundle, str(example))
    result = recipe.result()
    low, high = result["wer_interval"]
    print(f"\nTrained on {prepare(Path(recipe.cfg.data.dir), None)}")
    print(f"WER {result['wer']:.2%} (95 % interval {low:.2%} to {high:.2%}) on the test set")
    print(f"The recogniser is one file: {bundle}")
    print(f"Try it on a recording of yours:  asr transcribe {bundle} FILE.wav   (asr lies in .venv/bin)")


def leave_each_out(overrides: list[str]) -> None:
    """As many recognisers as speakers, each tested on a voice it never heard."""
    root = Recipe("unseen", HERE, overrides).cfg.data.root
    speakers = sorted({digit.speaker for digit in find_digits(root, Path("data"))[0]})
    rates = {speaker: run_without(speaker, overrides) for speaker in speakers}
    print(*(f"{speaker} {rate:.2%}" for speaker, rate in rates.items()), sep="\n")
    print(f"mean WER over {len(rates)} speakers: {sum(rates.values()) / len(rates):.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", metavar="SPEAKER")
    parser.add_argument("--without-each", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.without_each:
        leave_each_out(options.overrides)
    elif options.without:
        run_without(options.without, options.overrides)
    else:
        demonstrate(options.overrides)
