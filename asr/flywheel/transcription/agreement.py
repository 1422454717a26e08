"""How far transcribers agree: error rates between them by language, and Cohen's kappa of the mark "unusable"."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from asr.evaluation.score import Score, score
from asr.flywheel.transcription.items import Item
from asr.flywheel.transcription.journal import UNUSABLE, Journal, Save
from asr.text.clean import LANGUAGES

SHOWN = 20  # disagreements
UNKNOWN = "unknown"  # the language of recordings without one


@dataclass(frozen=True)
class Pair:
    """A recording that two transcribers have done; `first` is the one whose name sorts first."""

    item: Item
    first: Save
    second: Save


@dataclass(frozen=True)
class Person:
    """What one transcriber has done."""

    name: str
    recordings: int = 0
    unusable: int = 0
    sound_s: float = 0.0
    work_s: float = 0.0

    def row(self) -> str:
        sound, work = self.sound_s / 60, self.work_s / 60
        return f"{self.name:20}  {self.recordings:10}  {self.unusable:8}  {sound:12.1f}  {work:11.1f}"


@dataclass(frozen=True)
class Agreement:
    """`rates`: by language, with the first of each pair as the reference; recordings that one of them marked unusable
    are left out. `kappas`: by the names of two transcribers, with the number of recordings; None: undefined, as both
    marked all or nothing."""

    people: list[Person]
    pairs: list[Pair]
    rates: dict[str, Score]
    kappas: dict[tuple[str, str], tuple[float | None, int]]
    disputed: list[tuple[Item, list[Save]]]  # with all versions; nobody has settled them
    num_settled: int

    def summary(self) -> str:
        lines = [f"{'transcriber':20}  recordings  unusable  min of sound  min of work"]
        lines += [person.row() for person in self.people]
        if not self.pairs:
            return "\n".join([*lines, "no recording has two transcripts, so that nothing can be compared"])
        lines += ["", f"{len(self.pairs)} pairs of transcripts; the first by name is the reference"]
        for lang, found in self.rates.items():
            low, high = found.wer_interval
            lines.append(f"{lang}: WER {found.wer:.2%} (95 % interval {low:.2%} to {high:.2%}), CER {found.cer:.2%}, "
                         f"{found.words.reference} words of {len(found.utterances)} pairs")  # fmt: skip
        for (first, second), (value, number) in self.kappas.items():
            told = "undefined: all marked alike" if value is None else f"{value:.2f}"
            lines.append(f"{first} and {second}: Cohen's kappa of `unusable` {told}, {number} recordings")
        lines += [
            "",
            f"{len(self.disputed)} disagreements, {self.num_settled} settled; settle=true shows them on the page",
        ]
        for item, versions in self.disputed[:SHOWN]:
            lines += [item.id, *(f"    {save.by}: {f'({save.mark})' if save.mark else save.text}" for save in versions)]
        return "\n".join([*lines, "..."] if len(self.disputed) > SHOWN else lines)


def agreement(items: Sequence[Item], journal: Journal, resamples: int = 1000, seed: int = 1) -> Agreement:
    pairs = list(_pairs(items, journal))
    by_lang: defaultdict[str, dict[str, Pair]] = defaultdict(dict)
    marks: defaultdict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        are_unusable = (pair.first.mark == UNUSABLE, pair.second.mark == UNUSABLE)
        marks[pair.first.by, pair.second.by].append(are_unusable)
        if not any(are_unusable):
            by_lang[pair.item.lang or UNKNOWN][str(number)] = pair
    rates = {}
    for lang, found in sorted(by_lang.items()):
        first, second = (
            {id: getattr(pair, name).said[0] for id, pair in found.items()} for name in ("first", "second")
        )
        compared = lang if lang in LANGUAGES else "none"
        rates[lang] = score(first, second, resamples=resamples, seed=seed, lang=compared)
    disputed = [(item, list(journal.done(item.id).values())) for item in items if journal.disagreed(item.id)]
    kappas = {names: (kappa(given), len(given)) for names, given in sorted(marks.items())}
    return Agreement(
        _people(items, journal), pairs, rates, kappas, disputed, sum(item.id in journal.settled for item in items)
    )


def _people(items: Sequence[Item], journal: Journal) -> list[Person]:
    found: defaultdict[str, list[tuple[Item, Save]]] = defaultdict(list)
    for item in items:
        for by, save in journal.done(item.id).items():
            found[by].append((item, save))
    return [
        Person(
            name, len(done), sum(save.mark == UNUSABLE for _, save in done),
            sum(item.duration_s for item, _ in done), sum(save.spent_s for _, save in done),
        )
        for name, done in sorted(found.items())
    ]  # fmt: skip


def _pairs(items: Sequence[Item], journal: Journal) -> Iterator[Pair]:
    for item in items:
        for first, second in combinations(journal.done(item.id).values(), 2):
            yield Pair(item, first, second)


def kappa(given: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa (1960): agreement beyond that of two raters who mark as often as these, at random; 1 is perfect,
    0 is chance. None if chance alone agrees always."""
    number = len(given)
    counts = Counter(given)
    agreed = (counts[True, True] + counts[False, False]) / number
    first, second = (sum(pair[rater] for pair in given) / number for rater in (0, 1))
    by_chance = first * second + (1 - first) * (1 - second)
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
