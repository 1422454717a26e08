"""Back-off arithmetic, pruning, mixing and filtering against slow references and brute force on small models."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer
from test_lm import zipf_text

import asr.lm
from asr.errors import InputError
from asr.lm import backoff, marginals
from asr.lm.filter import restrict
from asr.lm.mix import fit, mix
from asr.lm.model import NgramModel
from asr.lm.prune import losses, prune, select
from asr.lm.score import perplexity, sentence_scores
from asr.words import BEGIN, END, UNKNOWN

words = st.sampled_from(["a", "b", "c", "d", "하나", "e", "f"])
corpora = st.lists(st.lists(words, min_size=1, max_size=7).map(" ".join), min_size=1, max_size=25)
orders = st.integers(1, 4)
Words = tuple[str, ...]


class Slow:
    """A model word by word, over dicts."""

    def __init__(self, model: NgramModel):
        self.words = [word for word in model.words if word != BEGIN]
        self.scorer = BackoffScorer(model)
        self.order = model.order
        self.listed = set(self.scorer.table)
        self.histories = [g for g in self.listed if len(g) < model.order and g[-1] != END]

    def log10_prob(self, history: Words, word: str) -> float:
        return self.scorer.score(
            history[len(history) - self.order + 1 :] if len(history) >= self.order else history, word
        )[0]

    def prob(self, history: Words, word: str) -> float:
        return 10 ** self.log10_prob(history, word)

    def after(self, history: Words) -> list[str]:
        return [word for word in self.words if (*history, word) in self.listed]

    def mass(self, history: Words) -> float:
        return sum(self.prob(history, word) for word in self.words)

    def check_sums(self) -> None:
        for history in [(), *self.histories]:
            assert self.mass(history) == pytest.approx(1.0, abs=5e-6)

    def srilm_marginal(self, history: Words) -> float:
        value = 1.0
        for k, word in enumerate(history):
            value *= self.prob(history[:k], END if k == 0 and word == BEGIN else word)
        return value

    def loss(self, ngram: Words) -> float:
        """SRILM's Ngram::pruneProbs, step by step."""
        *history, word = ngram
        history = tuple(history)
        numerator = 1 - sum(self.prob(history, v) for v in self.after(history))
        denominator = 1 - sum(self.prob(history[1:], v) for v in self.after(history))
        p, lower = self.prob(history, word), self.prob(history[1:], word)
        old = 10 ** self.scorer.table[history][1]
        new = (numerator + p) / (denominator + lower)
        delta_prob = math.log(lower * new / p)
        return math.expm1(-self.srilm_marginal(history) * (p * delta_prob + numerator * math.log(new / old)))


def rows(model: NgramModel, order: int) -> list[Words]:
    return [tuple(model.words[i] for i in ids) for ids in model.orders[order - 1].ids]


def small(seed: int, order: int = 3, min_count: int = 1) -> NgramModel:
    return asr.lm.train(zipf_text(seed, 60, 9), order, min_count=min_count)


@given(corpora, orders, st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_probabilities_of_any_ngrams(texts: list[str], order: int, length: int, draw) -> None:
    model = asr.lm.train(texts, order)
    slow = Slow(model)
    ids = np.array([[draw.randrange(len(model.words)) for _ in range(length)] for _ in range(50)])
    expected = [slow.log10_prob(tuple(model.words[i] for i in row[:-1]), model.words[row[-1]]) for row in ids]
    assert backoff.log10_prob(model, ids) == pytest.approx(expected, abs=1e-5)


def test_unknown_ids_are_in_no_ngram() -> None:
    model = small(0)
    ids = np.array([[5, -1, 4], [-1, 5, 4], [5, 4, -1]])
    found = backoff.log10_prob(model, ids)
    assert found[0] == backoff.log10_prob(model, ids[:1, 2:]) and found[1] == backoff.log10_prob(model, ids[1:2, 1:])
    assert found[2] == -np.inf


@given(
    corpora, orders, st.lists(st.lists(words | st.just("unheard"), min_size=1, max_size=9).map(" ".join), min_size=1)
)
@settings(max_examples=25, deadline=None)
def test_score_in_memory_is_that_of_the_scorer(texts: list[str], order: int, test: list[str]) -> None:
    model = asr.lm.train(texts, order)
    expected = list(sentence_scores(BackoffScorer(model), test))
    found = perplexity(model, test)
    assert (found.sentences, found.words, found.unknown) == tuple(
        sum(getattr(s, name) for s in expected) for name in ("sentences", "words", "unknown")
    )
    assert found.log10_prob == pytest.approx(sum(s.log10_prob for s in expected), rel=1e-5)
    assert found.log10_prob_unknown == pytest.approx(sum(s.log10_prob_unknown for s in expected), rel=1e-5)


@given(corpora, orders)
@settings(max_examples=30, deadline=None)
def test_recomputed_backoffs_equal_those_of_estimation(texts: list[str], order: int) -> None:
    model = asr.lm.train(texts, order)
    again = select(model, [np.ones(len(ngrams.ids), bool) for ngrams in model.orders])
    Slow(again).check_sums()


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_srilm(seed: int) -> None:
    model = small(seed)
    slow = Slow(model)
    for order, found in enumerate(losses(model, "product"), 2):
        assert found == pytest.approx([slow.loss(g) for g in rows(model, order)], rel=2e-3, abs=2e-8)


@pytest.mark.parametrize("model", [small(1, 2), restrict(small(1, 2), ["w0", "w2", "w3", "w5"])])
def test_loss_is_the_relative_entropy_by_brute_force(model: NgramModel) -> None:
    """D(p || p') = P(h) sum over all words of p(w | h) log (p(w | h) / p'(w | h)), with one n-gram removed."""
    before = Slow(model)
    for row, loss in enumerate(losses(model, "product")[0]):
        *history, _ = rows(model, 2)[row]
        keep = [np.ones(len(ngrams.ids), bool) for ngrams in model.orders]
        keep[1][row] = False
        after = Slow(select(model, keep))
        h = tuple(history)
        entropy = sum(before.prob(h, w) * math.log(before.prob(h, w) / after.prob(h, w)) for w in before.words)
        assert loss == pytest.approx(math.expm1(before.srilm_marginal(h) * entropy), rel=2e-3, abs=2e-8)


@given(corpora, orders, st.floats(0, 1), st.sampled_from(["product", "stationary"]))
@settings(max_examples=40, deadline=None)
def test_pruned_models_sum_to_one_and_keep_histories(texts: list[str], order: int, share: float, kind: str) -> None:
    model = asr.lm.train(texts, order)
    total = sum(len(ngrams.ids) for ngrams in model.orders)
    size = len(model.words) + round(share * (total - len(model.words)))
    pruned = prune(model, size=size, marginals=kind)
    slow = Slow(pruned)
    slow.check_sums()
    assert len(slow.listed) == size and pruned.words == model.words
    assert all(g[:-1] in slow.listed for g in slow.listed if len(g) > 1)
    assert all(slow.scorer.table[g][0] == pytest.approx(Slow(model).scorer.table[g][0]) for g in slow.listed)


@given(corpora, orders, st.sets(words, min_size=1), st.floats(0, 1), st.sampled_from(["product", "stationary"]))
@settings(max_examples=40, deadline=None)
def test_pruning_after_filtering_keeps_the_mass_of_each_history(
    texts: list[str], order: int, kept: set[str], share: float, kind: str
) -> None:
    model = restrict(asr.lm.train([*texts, " ".join(kept)], order), kept)
    total = sum(len(ngrams.ids) for ngrams in model.orders)
    pruned = prune(model, size=len(model.words) + round(share * (total - len(model.words))), marginals=kind)
    before, after = Slow(model), Slow(pruned)
    for history in [(), *after.histories]:
        assert after.mass(history) == pytest.approx(before.mass(history), abs=1e-6)
    assert all(after.scorer.table[g][0] == before.scorer.table[g][0] for g in after.listed)


def test_pruning_a_filtered_model_changes_only_what_uses_pruned_ngrams() -> None:
    model = restrict(small(1, 2), ["w0", "w2", "w3", "w5"])
    pruned = prune(model, threshold=1e-3)
    before, after = Slow(model), Slow(pruned)
    touched = {g[:-1] for g in before.listed - after.listed}
    untouched = [h for h in before.histories if h not in touched and before.after(h)]
    assert touched and untouched
    for history, word in itertools.product(untouched, before.words):
        assert after.log10_prob(history, word) == pytest.approx(before.log10_prob(history, word), abs=1e-6)


def test_pruning_nothing_keeps_a_filtered_model() -> None:
    model = restrict(small(1), ["w0", "w2", "w3", "w5"])
    for before, after in zip(model.orders, prune(model, threshold=0.0).orders, strict=True):
        assert after.log10_prob == pytest.approx(before.log10_prob)
        assert after.log10_backoff == pytest.approx(before.log10_backoff, abs=1e-6)


@pytest.mark.parametrize("threshold", [1e-5, 1e-3])
def test_threshold_prunes_as_srilm(threshold: float) -> None:
    model = small(2)
    slow = Slow(model)
    kept: set[Words] = {(word,) for word in model.words}
    for order in (3, 2):  # from long to short, since histories of kept n-grams stay
        for g in rows(model, order):
            if slow.loss(g) >= threshold or any(longer[:-1] == g for longer in kept):
                kept.add(g)
    pruned = prune(model, threshold=threshold, marginals="product")
    assert {g for n in range(1, pruned.order + 1) for g in rows(pruned, n)} == kept
    assert len(model.words) < len(kept) < len(slow.listed)


def test_an_order_without_ngrams_is_removed() -> None:
    assert prune(small(0), threshold=10.0).order == 1
    assert prune(small(0, order=1), threshold=10.0).order == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either lm.size, a number of n-grams, or lm.threshold"),
        ({"size": 9, "threshold": 1e-8}, "either lm.size, a number of n-grams, or lm.threshold"),
        ({"size": 3}, "lm.size is 3, but the 12 unigrams of the model always stay"),
        ({"size": 99, "marginals": "none"}, "expected one of stationary, product"),
    ],
)
def test_bad_pruning_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(small(0), **options)


@pytest.mark.parametrize(("order", "min_count", "size"), [(2, 1, None), (3, 3, None), (3, 1, 60)])
def test_stationary_marginals_are_those_of_the_chain_of_words(order: int, min_count: int, size: int | None) -> None:
    """The dense chain whose states are all sequences of order - 1 words."""
    model = asr.lm.train(zipf_text(4, 60, 4), order, min_count=min_count)
    if size:  # then some n-grams lack their suffix
        model = prune(model, size=size, marginals="product")
    slow = Slow(model)
    alphabet = [BEGIN, *(word for word in slow.words if word != END)]
    states = [s for k in range(1, order) for s in itertools.product(alphabet, repeat=k) if BEGIN not in s[1:]]
    states = [s for s in states if len(s) == order - 1 or s[0] == BEGIN]
    number = {s: i for i, s in enumerate(states)}
    step = np.zeros((len(states), len(states)))
    for s, word in itertools.product(states, slow.words):
        following = (BEGIN,) if word == END else (*s, word)[-(order - 1) :]
        step[number[s], number[following]] += slow.prob(s, word)
    occupied = np.linalg.matrix_power(step, 4096)[0]
    for n, found in enumerate(marginals.stationary(model), 1):
        for g, prob in zip(rows(model, n), found, strict=True):
            expected = sum(p for s, p in zip(states, occupied, strict=True) if s[len(s) - n :] == g and len(s) >= n)
            assert prob == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_stationary_marginals_of_sentences_of_equal_length() -> None:
    """Such a chain oscillates between its states; each state still occurs once per sentence."""
    found = marginals.stationary(asr.lm.train(["a b c"] * 200, 3))[0]
    model = asr.lm.train(["a b c"] * 200, 3)
    assert found[model.ids["a"]] == pytest.approx(found[model.ids["c"]], rel=0.1)


def reference_mixture(models: list[NgramModel], weights: list[float]) -> dict[Words, float]:
    """Probability of each n-gram that any model lists, by the definition."""
    slows = [Slow(model) for model in models]
    mixed = {}
    for g in set().union(*(slow.listed for slow in slows)):
        mixed[g] = 0.0
        for slow, weight in zip(slows, weights, strict=True):
            known = {*slow.words, BEGIN}
            history = tuple(word if word in known else UNKNOWN for word in g[:-1])
            mixed[g] += weight * (slow.prob(history, g[-1]) if g[-1] in known else 0.0)
    return mixed


@given(corpora, corpora, orders, orders, st.floats(0.05, 0.95), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_mixture_equals_reference(a: list[str], b: list[str], n: int, m: int, weight: float, min_count: int) -> None:
    if min_count > max(" ".join(b).split().count(word) for word in " ".join(b).split()):
        return
    models = [asr.lm.train([*a, "only here"], n), asr.lm.train(b, m, min_count=min_count)]
    mixed = mix(models, [weight, 1 - weight])
    slow = Slow(mixed)
    expected = reference_mixture(models, [weight, 1 - weight])
    assert slow.listed == set(expected)
    for g, prob in expected.items():
        assert 10 ** slow.scorer.table[g][0] == pytest.approx(prob, rel=1e-5)
    slow.check_sums()


def test_a_model_with_itself_is_itself() -> None:
    model = small(3)
    mixed = mix([model, model], [0.3, 0.7])
    assert mixed.words == model.words
    for ours, theirs in zip(mixed.orders, model.orders, strict=True):
        assert np.array_equal(ours.ids, theirs.ids)
        assert ours.log10_prob == pytest.approx(theirs.log10_prob, abs=1e-6)


@given(corpora, corpora, orders, orders, st.sets(words, min_size=1), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_mixture_after_filtering_has_the_mass_of_its_parts(
    a: list[str], b: list[str], n: int, m: int, kept: set[str], weight: float
) -> None:
    models = [restrict(asr.lm.train([*a, " ".join(kept)], n), kept), asr.lm.train(b, m)]
    mixed = Slow(mix(models, [weight, 1 - weight]))
    filtered, whole = (Slow(model) for model in models)
    for history in [(), *mixed.histories]:
        known = [tuple(word if word in {*slow.words, BEGIN} else UNKNOWN for word in history)
                 for slow in (filtered, whole)]  # fmt: skip
        expected = weight * filtered.mass(known[0]) + (1 - weight) * whole.mass(known[1])
        assert mixed.mass(history) == pytest.approx(expected, abs=5e-6)


def test_weights_are_the_best_by_search() -> None:
    a, b = small(5), asr.lm.train(zipf_text(6, 80, 30), 2)
    dev = [*zipf_text(7, 20, 30), "w1 never-heard w2"]
    found = fit([a, b], dev)
    grid = [fit([a, b], dev, [x, 1 - x]).score for x in np.linspace(0.005, 0.995, 199)]
    known = [s.log10_prob - s.log10_prob_unknown for s in grid]
    assert found.weights[0] == pytest.approx(np.linspace(0.005, 0.995, 199)[np.argmax(known)], abs=0.005)
    assert sum(found.weights) == pytest.approx(1) and 1 < found.steps < 1000
    assert found.score.unknown == 1


def test_exact_mixture_by_hand_and_the_written_one_on_listed_ngrams() -> None:
    """If all n-grams of a text are listed, the back-off model equals the exact mixture."""
    text = zipf_text(8, 30, 9)
    models = [asr.lm.train(text, 3), asr.lm.train(zipf_text(9, 80, 9), 3)]
    exact = fit(models, text, [0.4, 0.6])
    total = 0.0
    for sentence in text:
        pairs = zip(*(BackoffScorer(model).full_scores(sentence) for model in models), strict=True)
        total += sum(math.log10(0.4 * 10 ** x[0] + 0.6 * 10 ** y[0]) for x, y in pairs)
    assert exact.score.log10_prob == pytest.approx(total, rel=1e-6)
    assert perplexity(mix(models, [0.4, 0.6]), text).log10_prob == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.6], [1.5, -0.5]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="expected 2 numbers from 0 to 1 that sum to 1"):
        mix([small(0), small(1)], weights)
