"""The chain from Gaussian mixtures to LF-MMI on the data of one recipe: each row trained, tuned on dev and tested once.

    python -m benchmarks.chain RECIPE [experiment=NAME] [--only NAME,NAME] [KEY=VALUE ...]
    python -m benchmarks.chain timit experiment=timit_scratch fold=0 threads=1
    python -m benchmarks.chain --pool FOLDER FOLDER ... [--by utterance]

The recipe has sound and a lexicon of phones; its own net is the row of CTC. Language model, lexicon and search are
those of the recipe in all rows. HMMs see 13 cepstra. The net behind them has the adapted features and the alignment of
the row before it, and LF-MMI trains that net on, then MWER. Minutes are CPU time of all processes from the training to
the scored test set; a row behind another one needs the minutes of that one, too. A row that is finished is not run
again, so the same command continues. Writes `chain.json` in the run folder, exp/chain-EXPERIMENT or `out`, and prints
the table.

--pool adds up the errors of several run folders, such as those of the folds of a corpus, in each row that all of them
have. Its intervals are those of a bootstrap over the speakers of all test sets, or with `--by utterance` over the
utterances, its minutes means. A second table has the difference of each row from the row before it and from the first
one, with the interval of a paired bootstrap: both rows are counted on the same speakers or utterances.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from asr import manifest, pipeline
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.errors import InputError
from asr.evaluation.comparison import Comparison, paired_bootstrap
from asr.evaluation.score import Counts, bootstrap
from asr.evaluation.score import score as score_texts
from asr.evaluation.texts import read_pair
from asr.files import atomic_write
from asr.literals import parse_json
from asr.recognizer.adapted_features import write_features
from benchmarks.ablation import cpu_s
from recipes.run import prepared

HMM = ("features=mfcc", "features.num_bins=23", "features.cmvn=utterance")
ADAPTED = ("features.kind=stored", "features.num_bins=40", "features.deltas=0", "features.cmvn=none", "augment=none")
NET = ("model=fc", "model.subsampling=1", "model.kernel=11", "model.hidden=512", "model.layers=4", "model.dropout=0.2",
       "optim.batch_s=10")  # fmt: skip
TDNNF = ("model=cnn", "model.subsampling=1", "model.kernel=5", "model.hidden=384", "model.bottleneck=96",
         "model.layers=6", "model.dropout=0.2", "optim.batch_s=10", "optim.precision=bf16")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A training by a verb with these options. `behind`: the row that it needs. `heard_h`: hours of speech that the net
    hears in all its epochs; None: as many epochs as configured."""

    name: str
    title: str
    verb: str
    options: tuple[str, ...] = ()
    behind: str | None = None
    heard_h: float | None = None


ROWS = (
    Row("mono", "monophones", "hmm train", (*HMM, "hmm=mono", "features.deltas=2")),
    Row("tri", "states in context", "hmm train", (*HMM, "hmm=tri", "features.deltas=2")),
    Row("lda", "LDA and MLLT", "hmm train", (*HMM, "hmm=lda_mllt", "features.deltas=0")),
    Row("sat", "fMLLR for each speaker", "hmm train", (*HMM, "hmm=sat", "features.deltas=0")),
    Row("dnn", "net on adapted features (cross-entropy)", "train",
        (*ADAPTED, *NET, "criterion=ce", "optim.lr=1e-3"), "sat", 3.0),
    Row("dnn_lfmmi", "LF-MMI behind it", "train",
        (*ADAPTED, *NET, "criterion=lfmmi", "optim.lr=2e-5"), "dnn", 1.0),
    Row("dnn_mwer", "MWER behind LF-MMI over states", "train",
        (*ADAPTED, *NET, "criterion=mwer", "criterion.auxiliary_weight=1e-3", "optim.lr=1e-5"), "dnn_lfmmi", 1.0),
    Row("tdnnf", "factorised net, trained longer", "train",
        (*ADAPTED, *TDNNF, "criterion=ce", "optim.lr=1e-3"), "sat", 8.5),
    Row("ctc", "CTC", "train"),
    Row("ctc_lfmmi", "LF-MMI behind CTC", "train", ("criterion=lfmmi", "optim.epochs=4", "optim.lr=2e-4"), "ctc"),
    Row("ctc_mwer", "MWER behind LF-MMI behind CTC", "train", ("criterion=mwer", "optim.epochs=3", "optim.lr=1e-4"),
        "ctc_lfmmi"),
)  # fmt: skip


class Chain:
    def __init__(self, experiment: str, recipe: Recipe):
        self.experiment, self.recipe, self.out = experiment, recipe, Path(recipe.cfg.out).absolute()

    def run(self, row: Row) -> dict[str, Any]:
        """Train, tune and test a row; what was measured is kept in its folder."""
        kept = self.out / row.name / "row.json"
        if kept.exists():
            return parse_json(kept.read_text(encoding="utf-8"))
        before = cpu_s()
        words = [word for word in self.recipe.overrides[1:] if not word.startswith(("out=", "data.dir="))]
        words += [f"out={self.out / row.name}", f"data.dir={Path(self.recipe.cfg.data.dir).absolute()}"]
        step = Recipe(
            self.experiment, Path(self.recipe.folder), [*words, *row.options, *self.behind(row), *self.epochs(row)]
        )
        for verb in (row.verb, "lm train", "graph", "tune", "decode", "score"):
            step(verb)
        tuned = parse_json((self.out / row.name / "tune.json").read_text(encoding="utf-8"))
        score = {name: step.result()[name] for name in ("wer", "wer_interval", "words")}
        found = {"title": row.title, "dev": tuned["points"][0], "score": score, "minutes": (cpu_s() - before) / 60,
                 "options": row.options, "date": date.today().isoformat()}  # fmt: skip
        with atomic_write(kept) as file:
            json.dump(found, file, indent=1)
        return found

    def epochs(self, row: Row) -> list[str]:
        if row.heard_h is None:
            return []
        heard_s = sum(u.duration_s or 0.0 for u in manifest.read(self.recipe.cfg.data.train))
        return [f"optim.epochs={max(1, round(3600 * row.heard_h / heard_s))}"]

    def behind(self, row: Row) -> list[str]:
        """The options that follow from the row before: its net, or its alignments and adapted features."""
        if row.behind is None:
            return []
        sat, adapted = self.out / "sat", self.out / "adapted"
        start = [f"init={self.searching(row.behind) if 'criterion=mwer' in row.options else self.out / row.behind}"]
        if row.behind.startswith("ctc"):
            return start
        if row.behind == "sat":
            hmms = pipeline.tuned(Config(out=str(sat), threads=self.recipe.cfg.threads, adapt=self.recipe.cfg.adapt))
            recognizer = pipeline.open_recognizer(hmms)
            for split in ("train", "dev", "test"):
                write_features(recognizer, getattr(self.recipe.cfg.data, split), adapted / f"{split}.jsonl")
        sets = [f"data.{split}={adapted / f'{split}.jsonl'}" for split in ("train", "dev", "test")]
        net = start if row.behind != "sat" else []
        return [f"criterion.alignments={sat / 'train/alignments.npz'}", *sets, *net]

    def searching(self, name: str) -> Path:
        """The bundle of a row, with its graph and the options that were tuned."""
        return pipeline.bundle(pipeline.tuned(Config(out=str(self.out / name), threads=self.recipe.cfg.threads)))


def pool(folders: Sequence[Path], by: str = "speaker") -> dict[str, dict[str, Any]]:
    """The rows that all run folders have, with the errors of all of them, and under `units` by speaker or utterance. A
    speaker of several folders counts as one.

    Raises InputError if there is no such row, and for test sets without speakers.
    """
    rows = {}
    for row in ROWS:
        places = [folder / row.name for folder in folders]
        if not all((place / "row.json").exists() for place in places):
            continue
        found = [parse_json((place / "row.json").read_text(encoding="utf-8")) for place in places]
        units: dict[str, Counts] = {}
        for number, place in enumerate(places):
            of_place = by_speaker(place) if by == "speaker" else by_utterance(place)
            for name, counts in of_place.items():
                name = name if by == "speaker" else f"{number} {name}"
                units[name] = units.get(name, Counts()) + counts
        dev = sum((Counts(**one["dev"]["counts"]) for one in found), Counts())
        test = sum(units.values(), Counts())
        score = {"wer": test.rate, "wer_interval": bootstrap([*units.values()]), "words": asdict(test)}
        minutes = sum(one["minutes"] for one in found) / len(found)
        rows[row.name] = {"title": row.title, "dev": {"wer": dev.rate}, "score": score, "minutes": minutes,
                          "units": units}  # fmt: skip
    if not rows:
        raise InputError(f"no row has been run in all of {', '.join(map(str, folders))}")
    return rows


def by_speaker(place: Path) -> dict[str, Counts]:
    """The errors of a row in each test speaker's words."""
    scored = parse_json((place / "score/score.json").read_text(encoding="utf-8"))
    if not scored["speakers"]:
        raise InputError(f"{place / 'score/score.json'} has no speakers; name them in the test manifest, or count --by "
                         "utterance")  # fmt: skip
    return {name: Counts(**counts["words"]) for name, counts in scored["speakers"].items()}


def by_utterance(place: Path) -> dict[str, Counts]:
    """The errors of a row in each test utterance's words."""
    scored = parse_json((place / "score/score.json").read_text(encoding="utf-8"))
    refs, hyps = read_pair(scored["reference"], place / "decode/test/hyp.jsonl")
    return {u.id: u.words for u in score_texts(refs.texts, hyps.texts, resamples=1).utterances}


def differences(rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[Comparison]]]:
    """Of each pooled row but the first, its title, and how it compares with the row before it and with the first."""
    every = list(rows.values())
    for before, row in pairwise(every):
        others = [before] if before is every[0] else [before, every[0]]
        yield row["title"], [paired(row["units"], other["units"]) for other in others]


def paired(first: dict[str, Counts], second: dict[str, Counts]) -> Comparison:
    """Raises InputError if the rows have not been tested on the same speakers or utterances."""
    if first.keys() != second.keys():
        raise InputError("the rows have not been tested on the same utterances; test them again")
    return paired_bootstrap([*first.values()], [second[name] for name in first])


def print_differences(rows: dict[str, dict[str, Any]]) -> None:
    if len(rows) < 2:
        return
    print("\n| step | points from the row before (95 % interval) | from the first row |\n|---|---|---|")
    for title, found in differences(rows):
        cells = [f"{100 * c.difference:+.1f} ({100 * c.interval[0]:+.1f} to {100 * c.interval[1]:+.1f})" for c in found]
        print(f"| {title} | {' | '.join([*cells, *['the same'] * (2 - len(cells))])} |")


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    print("| step | dev WER | test WER (95 % interval) | test errors | CPU min |\n|---|---|---|---|---|")
    for row in rows.values():
        score, n = row["score"], row["score"]["words"]
        low, high = (100 * end for end in score["wer_interval"])
        errors = f"S {n['substitutions']} D {n['deletions']} I {n['insertions']}"
        print(f"| {row['title']} | {100 * row['dev']['wer']:.1f} % | {100 * score['wer']:.1f} % ({low:.1f}-{high:.1f}) "
              f"| {errors} | {row['minutes']:.1f} |")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.chain", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--pool", nargs="+", type=Path, metavar="FOLDER", help="run folders to add up")
    parser.add_argument(
        "--by", choices=["speaker", "utterance"], default="speaker", help="what --pool's bootstrap draws"
    )
    parser.add_argument("--only", help="rows to run, by name; left out: all")
    args, words = parser.parse_known_args(argv)
    if args.pool:
        try:
            rows = pool(args.pool, args.by)
            print_table(rows)
            print_differences(rows)
        except InputError as e:
            parser.error(str(e))
        return
    if args.recipe is None:
        parser.error("name a recipe, or run folders behind --pool")
    names = [row.name for row in ROWS]
    only = args.only.split(",") if args.only else names
    if unknown := [name for name in only if name not in names]:
        parser.error(f"--only: there is no row {unknown[0]!r}; there are: {', '.join(names)}")
    chain = Chain(*prepared(args.recipe, words, "exp/chain-{}"))
    rows = {}
    for row in ROWS:
        if row.name in only:
            rows[row.name] = chain.run(row)
            print_table(rows)
    with atomic_write(chain.out / "chain.json") as file:
        json.dump({"command": [args.recipe, *words], "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
