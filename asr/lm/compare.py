"""Several models on one text: perplexities side by side, sentence by sentence, and the words that they do not know."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.lm.score import Score, load, sentence_scores


@dataclass(frozen=True)
class Comparison:
    """Of a text's sentences that have words."""

    texts: list[str]
    scores: dict[str, list[Score]]  # of each model, a sentence each
    unknown: dict[str, Counter[str]]  # of each model, how often each word outside its vocabulary occurs

    def __str__(self) -> str:
        return table({name: sum(scores[1:], scores[0]) for name, scores in self.scores.items()})

    def write_sentences(self, path: str | Path) -> None:
        """A line a sentence: of each model log10 probability and unknown words, then the sentence, between tabs."""
        with atomic_write(path) as file:
            heads = (f"{name}:log10_prob\t{name}:unknown" for name in self.scores)
            file.write("\t".join([*heads, "sentence"]) + "\n")
            for text, *scores in zip(self.texts, *self.scores.values(), strict=True):
                fields = (f"{score.log10_prob:.4f}\t{score.unknown}" for score in scores)
                file.write("\t".join([*fields, text]) + "\n")

    def write_unknown(self, path: str | Path) -> None:
        """A line a word, the most frequent first: how often it occurs, the word, the models that lack it."""
        together: Counter[str] = Counter()
        for counts in self.unknown.values():
            together |= counts
        with atomic_write(path) as file:
            for word, count in sorted(together.items(), key=lambda item: (-item[1], item[0])):
                lacking = (name for name, counts in self.unknown.items() if word in counts)
                file.write("\t".join([str(count), word, *lacking]) + "\n")


def compare(models: Sequence[str], texts: Sequence[str]) -> Comparison:
    """Scores of the model files, by their names. Raises InputError for a bad model and if there is no sentence."""
    texts = [" ".join(words) for text in texts if (words := text.split())]
    if not texts:
        raise InputError("there is no text to score; give at least one sentence")
    scores, unknown = {}, {}
    for name in models:
        scorer = load(name)
        scores[name] = list(sentence_scores(scorer, texts))
        unknown[name] = Counter(
            word
            for text, score in zip(texts, scores[name], strict=True)
            if score.unknown
            for word, (_, _, is_unknown) in zip(text.split(), scorer.full_scores(text), strict=False)
            if is_unknown
        )
    return Comparison(texts, scores, unknown)


def table(scores: dict[str, Score]) -> str:
    """Perplexities below each other, and of which text."""
    width = max(len("model"), *map(len, scores))
    lines = [f"{'model':{width}}  perplexity  without unknown  unknown words"]
    for name, score in scores.items():
        lines.append(
            f"{name:{width}}  {score.perplexity:10.2f}  {score.perplexity_known:15.2f}  {score.oov_rate:13.2%}"
        )
    one = next(iter(scores.values()))
    return "\n".join([*lines, f"of {one.words:,} words in {one.sentences:,} sentences"])
