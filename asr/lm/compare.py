"""Comparison of language models on one text: perplexities, scores per sentence, and unknown words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.lm.arpa import is_model
from asr.lm.score import NO_TEXT, Score, TextScores, load, sentence_scores


@dataclass(frozen=True)
class Comparison:
    """Scores of the sentences of a text; sentences without words are left out."""

    texts: list[str]
    scores: dict[str, list[Score]]  # model -> one score per sentence
    unknown: dict[str, Counter[str]]  # model -> counts of the words outside its vocabulary

    def __str__(self) -> str:
        return table({name: sum(scores[1:], scores[0]) for name, scores in self.scores.items()})

    def write_sentences(self, path: str | Path) -> None:
        """One line per sentence, separated by tabs: log10 probability and unknown words of each model, the sentence."""
        with atomic_write(path) as file:
            heads = (f"{name}:log10_prob\t{name}:unknown" for name in self.scores)
            file.write("\t".join([*heads, "sentence"]) + "\n")
            for text, *scores in zip(self.texts, *self.scores.values(), strict=True):
                fields = (f"{score.log10_prob:.4f}\t{score.unknown}" for score in scores)
                file.write("\t".join([*fields, text]) + "\n")

    def write_unknown(self, path: str | Path) -> None:
        """One line per word, the most frequent first: its count, the word, the models that do not know it."""
        all_counts: Counter[str] = Counter()
        for counts in self.unknown.values():
            all_counts |= counts
        with atomic_write(path) as file:
            for word, count in sorted(all_counts.items(), key=lambda item: (-item[1], item[0])):
                lacking = (name for name, counts in self.unknown.items() if word in counts)
                file.write("\t".join([str(count), word, *lacking]) + "\n")


def compare(models: Sequence[str], texts: Sequence[str]) -> Comparison:
    """Scores `texts` by each model file.

    Raises InputError for a bad model, if there is no sentence, and for models of words beside models of characters,
    whose perplexities are of other predictions.
    """
    texts = [" ".join(words) for text in texts if (words := text.split())]
    if not texts:
        raise InputError(NO_TEXT)
    scores, unknown = {}, {}
    scorers = {name: _open(name) for name in models}
    if len({scorer.of_pieces for scorer in scorers.values()}) > 1:
        unit = {True: "characters", False: "words"}
        named = ", ".join(f"{name} is of {unit[scorer.of_pieces]}" for name, scorer in scorers.items())
        raise InputError(f"perplexities per word and per character cannot be compared: {named}")
    for name, scorer in scorers.items():
        scores[name] = list(sentence_scores(scorer, texts))
        unknown[name] = Counter(
            word
            for text, score in zip(texts, scores[name], strict=True)
            if score.unknown
            for word, (_, _, is_unknown) in zip(scorer.words_in(text), scorer.full_scores(text), strict=False)
            if is_unknown
        )
    return Comparison(texts, scores, unknown)


def _open(path: str) -> TextScores:
    if is_model(path):
        return load(path)
    from asr.lm.neural import file, scorer

    return scorer.NeuralScorer(file.read(path)) if file.is_neural(path) else load(path)  # which names the fault


def table(scores: dict[str, Score]) -> str:
    """One row per model, then the size of the text."""
    width = max(len("model"), *map(len, scores))
    lines = [f"{'model':{width}}  perplexity  without unknown  unknown words"]
    for name, score in scores.items():
        with_unknown, known = _figure(score.perplexity), _figure(score.perplexity_known)
        lines.append(f"{name:{width}}  {with_unknown:>10}  {known:>15}  {score.oov_rate:13.2%}")
    one = next(iter(scores.values()))
    return "\n".join([*lines, f"of {one.words:,} words in {one.sentences:,} sentences"])


def _figure(perplexity: float) -> str:
    return f"{perplexity:.2f}" if perplexity < 1e7 else f"{perplexity:.2e}"
