"""make demo: digit strings from recordings to a recogniser. Options: any `key=value` of the experiment.

python recipes/digits/run.py                       speakers known, recordings new
python recipes/digits/run.py --without theo        theo is heard in the test alone
python recipes/digits/run.py --without-each        once for every speaker; prints the mean
"""

import argparse
from pathlib import Path

from prepare import find_digits, prepare

from asr.recipe import Recipe

HERE = Path(__file__).parent


def run(overrides: list[str], held_out: str | None = None) -> Recipe:
    """One recogniser, from recordings to a scored test set and a bundle."""
    recipe = Recipe("digits", HERE, overrides)
    if held_out:
        recipe = Recipe("digits", HERE, [*overrides, f"out={recipe.cfg.out}-without-{held_out}"])
    print("\n==", prepare(Path(recipe.cfg.data.dir), recipe.cfg.data.root, held_out))
    recipe.build()
    return recipe


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
    root, rates = Recipe("digits", HERE, overrides).cfg.data.root, {}
    for speaker in sorted({digit.speaker for digit in find_digits(root, Path("data"))[0]}):
        rates[speaker] = run(overrides, speaker).result()["wer"]
        print(f"WER on {speaker}, never heard before: {rates[speaker]:.2%}")
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
        run(options.overrides, options.without)
    else:
        demonstrate(options.overrides)
