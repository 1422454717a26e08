"""What a language model of the domain is worth: Korean film reviews, one net with two language models.

The net is that of the recipe korean, run before. The reviews and dialogues of korean_read, read by the same speakers in
the same rooms, are the speech inside and outside the domain; the talks of pansori are further speech outside. The film
reviews nsmc_clean (CC0) are the domain's text, without the sentences that are tested; the other texts in `text_ko` are
the general one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr import hypothesis, manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.evaluation.score import error_counts
from asr.manifest import Utterance
from recipes.korean.prepare import read
from recipes.korean.texts import sentences, write_lines

KOREAN = Path("exp/korean")  # the run whose net, tokens and scales are used
DOMAIN = "nsmc_clean"
FIRST_REVIEW = 100  # number of the first review of korean_read; the dialogues have smaller ones
HELD_OUT = 2000  # reviews that find the weights of the mixture
SETS = ("reviews", "dialogues", "talks")
RESAMPLES = 2000


def prepare(cfg: Config) -> str:
    """Write `{reviews,dialogues,talks}.jsonl`, `lm.txt`, `domain.txt` and `domain_dev.txt` in `cfg.data.dir`."""
    if not (KOREAN / "model.asr").exists():
        raise InputError(f"{KOREAN}/model.asr is missing; run `python -m recipes.run korean` first")
    out, root = Path(cfg.data.dir), cfg.data.root
    spoken = read("korean_read", "test", root)
    sets = {
        "reviews": [u for u in spoken if number(u) >= FIRST_REVIEW],
        "dialogues": [u for u in spoken if number(u) < FIRST_REVIEW],
        "talks": read("pansori", "test", root),
    }
    for name, utterances in sets.items():
        manifest.write(out / f"{name}.jsonl", utterances)
    left_out = {u.transcript for utterances in sets.values() for u in utterances} | {""}
    left_out |= {u.transcript for u in read("korean_read", "dev", root)}
    folder = corpora.find("text_ko", root)
    if folder is None:
        raise InputError("no folder 'text_ko' with *.txt.xz; name the folder above it with data.root=...")
    paths = sorted(folder.glob("*.txt.xz"))
    write_lines(out / "lm.txt", sentences((p for p in paths if not p.name.startswith(DOMAIN)), left_out))
    reviews = list(sentences((p for p in paths if p.name.startswith(DOMAIN)), left_out))
    order = np.random.default_rng(1).permutation(len(reviews))
    write_lines(out / "domain_dev.txt", (reviews[i] for i in order[:HELD_OUT]))
    write_lines(out / "domain.txt", (reviews[i] for i in order[HELD_OUT:]))
    return f"real speech of korean_read and pansori; texts in {folder}"


def build(recipe: Recipe) -> None:
    """Two language models, a graph of each, and every test set with both."""
    out, data = Path(recipe.cfg.out), Path(recipe.cfg.data.dir)
    recipe("lm train", f"lm.arpa={out}/general.arpa")
    recipe("lm train", f"lm.text=[{data}/domain.txt]", f"lm.arpa={out}/domain.arpa")
    recipe("lm mix", f"{out}/general.arpa", f"{out}/domain.arpa", f"dev={data}/domain_dev.txt",
           f"output={out}/local.arpa")  # fmt: skip
    for model in ("general", "local"):
        decode_with(recipe, model, f"{out}/{model}.arpa", KOREAN, SETS)
    recipe("bundle", f"out={KOREAN}", f"graph.dir={out}/local", f"bundle={recipe.cfg.bundle}")
    report(recipe.cfg, SETS, "cer_without_spaces")


def decode_with(recipe: Recipe, model: str, arpa: str, run: Path, sets: Sequence[str]) -> None:
    """Decode `sets` with the net and the scales of the run folder `run` and another language model."""
    folder, data = f"{recipe.cfg.out}/{model}", recipe.cfg.data.dir
    recipe("graph", f"out={run}", f"graph.dir={folder}", f"lm.arpa={arpa}")
    for name in sets:
        recipe("decode", f"{data}/{name}.jsonl", f"out={run}", f"graph.dir={folder}", f"output={folder}/{name}.jsonl")


def report(cfg: Config, sets: Sequence[str], rate: str) -> None:
    """Print `compare` of each set that was decoded with both models."""
    for name in sets:
        reference, pair = Path(cfg.data.dir) / f"{name}.jsonl", (f"general/{name}.jsonl", f"local/{name}.jsonl")
        before, after = (Path(cfg.out) / path for path in pair)
        if before.exists() and after.exists():
            print(compare(reference, before, after, rate))


def compare(reference: Path, before: Path, after: Path, rate: str) -> str:
    """The error rates of two sets of hypotheses, with the 95 % interval of their relative difference.

    The bootstrap draws sentences, not utterances, since several speakers read the same sentences.
    """
    refs = {u.id: u.transcript for u in manifest.read(reference)}
    said = {text: column for column, text in enumerate(sorted(set(refs.values())))}
    counts, units = np.zeros((2, len(said))), np.zeros(len(said))  # errors of both; units of the reference
    for row, path in enumerate((before, after)):
        texts = {found.id: found.text for found in hypothesis.read(path)}
        for id, ref in refs.items():
            found = error_counts(ref, texts[id], rate)
            counts[row, said[ref]] += found.errors
            units[said[ref]] += found.reference / 2
    drawn = np.random.default_rng(1).integers(len(said), size=(RESAMPLES, len(said)))
    first, second = counts[:, drawn].sum(2)  # (RESAMPLES,) each
    low, high = np.quantile((second - first) / np.maximum(first, 1), [0.025, 0.975])
    old, new = counts.sum(1)
    return (
        f"{reference.stem}: {len(refs)} utterances, {len(said)} sentences: {old / units.sum():.1%} -> "
        f"{new / units.sum():.1%}, {(new - old) / old:+.0%} ({low:+.0%} to {high:+.0%})"
    )


def number(u: Utterance) -> int:
    return int(u.id[-5:])
