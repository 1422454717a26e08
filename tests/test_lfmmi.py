"""LF-MMI and CTC-CRF against enumeration of all paths and all token sequences."""

import itertools
import math

import numpy as np
import pytest
import torch
from ngram_reference import BackoffScorer

from asr import ctc_loss
from asr.criteria.acceptor import Acceptor
from asr.criteria.lfmmi import TokenModel, ctc_crf_loss, lfmmi_loss
from asr.criteria.totals import log_totals, occupancy
from asr.errors import InputError
from asr.training import token_lm

INF = math.inf


def draw_model(histories=3, outputs=4, seed=0):
    rng = np.random.default_rng(seed)
    log_prob = rng.normal(size=(histories, outputs)) - 1
    log_prob[:, 0] = -INF
    return TokenModel(0, rng.integers(histories, size=(histories, outputs)), log_prob, rng.normal(size=histories))


def collapsed(path):
    return [k for k, _ in itertools.groupby(path) if k]


def enumerated(x, target, model):
    """The loss of x (T, V)."""
    paths = list(itertools.product(range(x.shape[1]), repeat=len(x)))
    scores = torch.stack([x[range(len(path)), path].sum() + model.score(collapsed(path)) for path in paths])
    matches = torch.tensor([collapsed(path) == target for path in paths])
    return scores.logsumexp(0) - scores[matches].logsumexp(0)


def both(loss, x):
    x = x.clone().requires_grad_()
    losses = loss(x)
    return losses.detach(), torch.autograd.grad(losses[losses < INF].sum(), x)[0]


@pytest.mark.parametrize("histories", [1, 2, 5])
def test_ctc_crf_equals_the_sum_over_all_paths(histories):
    """Also where tokens lead to histories that other tokens lead to, and with one history for all."""
    model = draw_model(histories, seed=histories)
    generator = torch.Generator().manual_seed(histories)
    x = torch.randn(4, 5, 4, generator=generator, dtype=torch.float64) * 2
    targets = [[1, 2], [], [3], [2, 2], [1, 3, 1]]
    frames, sizes = [4, 3, 1, 3, 4], list(map(len, targets))
    padded = torch.tensor([target + [0] * (3 - len(target)) for target in targets])
    losses, grad = both(lambda x: ctc_crf_loss(x, padded, frames, sizes, model), x)

    def reference(x):
        rows = [enumerated(x[:f, n], target, model) for n, (f, target) in enumerate(zip(frames, targets, strict=True))]
        return torch.stack(rows)

    torch.testing.assert_close((losses, grad), both(reference, x), rtol=1e-11, atol=1e-11)
    assert (losses >= 0).all()
    flat = torch.tensor(sum(targets, []))
    torch.testing.assert_close(ctc_crf_loss(x, flat, frames, sizes, model), losses)
    shifted = x + torch.randn(4, 5, 1, generator=generator, dtype=torch.float64) * 100
    torch.testing.assert_close(ctc_crf_loss(shifted, padded, frames, sizes, model), losses)


def test_gradient_is_that_of_finite_differences():
    model = draw_model()
    x = torch.randn(6, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    targets = torch.tensor([[1, 1, 2], [3, 0, 0]])
    assert torch.autograd.gradcheck(lambda x: ctc_crf_loss(x, targets, [6, 4], [3, 1], model), x)


def test_float32_and_what_cannot_be():
    """Too few frames, a target that the model excludes, and nothing but -inf."""
    model = draw_model()
    model.log_prob[:, 3] = -INF
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    x[:, 3] = -INF
    x[0, 4, 1] = math.nan
    targets = torch.tensor([[1, 1], [3, 0], [1, 0], [1, 0], [2, 0]])
    arguments = (targets, [2, 3, 3, 3, 3], [2, 1, 1, 1, 1], model)
    losses, grad = both(lambda x: ctc_crf_loss(x, *arguments)[:4], x)
    assert losses.tolist()[:2] == [INF, INF] and 0 < losses[2] < INF and losses[3] == INF
    assert not grad[:, [0, 1, 3]].any() and grad[:, 2].any() and grad.dtype == torch.float32
    assert ctc_crf_loss(x, *arguments)[4].isnan()
    assert ctc_crf_loss(x, *arguments, zero_infinity=True)[[0, 1, 3]].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="label 0: 4 is outside"):
        ctc_crf_loss(x[:, :1], torch.tensor([[4]]), [3], [1], model)


def test_no_frames():
    model = draw_model()
    losses = ctc_crf_loss(torch.zeros(0, 2, 4), torch.tensor([[1], [0]]), [0, 0], [1, 0], model)
    assert losses.tolist() == [INF, 0.0]


def left_to_right(tokens, loops=0.6):
    """One state per token, repeated with a probability; the output of a token is its number."""
    n = len(tokens)
    states = np.arange(n)
    return Acceptor(
        np.concatenate([states, states + 1]), np.concatenate([tokens, tokens]).astype(int),
        np.log(np.repeat([1.0, loops], n)), np.concatenate([states + 1, states + 1]),
        np.where(np.arange(n + 1) == 0, 0.0, -INF), np.where(np.arange(n + 1) == n, 0.0, -INF),
    )  # fmt: skip


def test_hmm_topology_equals_the_sum_over_all_token_sequences():
    """One state per token, without blanks: the denominator is the sum of the numerators of all token sequences."""
    frames, tokens, loops = 4, (0, 1, 2), 0.6
    bigram = np.log([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]])
    own, other = np.repeat(tokens, 3), np.tile(tokens, 3)
    stays = np.array(tokens)
    # States: in token k, and 3, the beginning.
    denominator = Acceptor(
        np.concatenate([own, stays, [3] * 3]), np.concatenate([other, stays, stays]),
        np.concatenate([bigram.ravel(), np.log([loops] * 3), bigram[0]]), np.concatenate([other, stays, stays]),
        np.array([-INF] * 3 + [0.0]), np.array([0.0] * 3 + [-INF]),
    )  # fmt: skip
    x = torch.randn(frames, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def weight(sequence):
        return sum(bigram[a, b] for a, b in zip((0, *sequence), sequence, strict=False))

    sums = []
    for length in range(1, frames + 1):
        for sequence in itertools.product(tokens, repeat=length):
            sums.append(log_totals(x, [frames], [left_to_right(sequence, loops)]) + weight(sequence))
    total = log_totals(x, [frames], denominator)
    torch.testing.assert_close(total, torch.stack(sums).logsumexp(0))

    target = (1, 2)
    numerator = left_to_right(target, loops)
    object.__setattr__(numerator, "final", numerator.final + weight(target))
    losses, grad = both(lambda x: lfmmi_loss(x, [frames], [numerator], denominator), x)
    torch.testing.assert_close(losses, total - log_totals(x, [frames], [numerator]))
    expected = occupancy(x, [frames], denominator) - both(lambda x: log_totals(x, [frames], [numerator]), x)[1]
    torch.testing.assert_close(grad, expected)
    short = lfmmi_loss(x, [1], [numerator], denominator)
    assert short.tolist() == [INF] and lfmmi_loss(x, [1], [numerator], denominator, True).tolist() == [0.0]


TEXTS = [[1, 2, 2, 3], [2, 1], [1, 2, 3, 1, 2], [3, 3], [1], []]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_token_model_is_the_ngram(order):
    """Its probabilities are those of the model's n-grams, and sum to 1. Output 4 is in no text."""
    model = token_lm.estimate(TEXTS, 5, order)
    np.testing.assert_allclose(np.exp(model.log_prob).sum(1) + np.exp(model.log_final), 1, rtol=1e-9)
    assert (model.log_prob[:, 0] == -INF).all() and (model.log_prob[:, 1:] > -INF).all()
    histories = {1: 1, 2: 5}.get(order)
    assert histories is None or len(model.log_prob) == histories
    scorer = BackoffScorer(token_lm.ngrams_of(TEXTS, 5, order))
    for sequence in [[], [1, 2, 3], [4, 4, 1], [3, 1, 2, 3, 1], [2] * 6]:
        words = ["<s>", *map(str, sequence), "</s>"]
        wanted = 0.0
        for end in range(1, len(words)):
            history = words[max(0, end - order + 1) : end]
            prob, unknown = (10 ** scorer.score(history, word)[0] for word in (words[end], "<unk>"))
            wanted += math.log(prob / (1 - unknown))
        assert model.score(sequence) == pytest.approx(wanted, rel=1e-5)


def test_ctc_crf_with_the_token_model_is_a_posterior():
    """exp(-loss) over all token sequences of up to as many tokens as frames sums to 1."""
    model = token_lm.estimate(TEXTS, 4, 3)
    x = torch.randn(3, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    total = 0.0
    for length in range(4):
        for target in itertools.product((1, 2, 3), repeat=length):
            loss = ctc_crf_loss(x, torch.tensor([target], dtype=torch.int64), [3], [length], model)
            total += math.exp(-float(loss))
    assert total == pytest.approx(1, rel=1e-10)


def test_without_knowledge_of_tokens_it_is_ctc():
    """If the model gives each token sequence the same weight, and x is normalised, the denominator is the number of
    token sequences weighted by their CTC probability, which is 1."""
    model = TokenModel(0, np.zeros((1, 4), int), np.array([[-INF, 0.0, 0.0, 0.0]]), np.zeros(1))
    x = torch.randn(12, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).log_softmax(2)
    targets = torch.tensor([[1, 2, 3], [2, 2, 0], [0, 0, 0]])
    arguments = (targets, [12, 9, 5], [3, 2, 0])
    torch.testing.assert_close(ctc_crf_loss(x, *arguments, model), ctc_loss(x, *arguments, reduction="none"))


def test_a_model_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(token_lm, "MOST_ARCS", 10)
    with pytest.raises(InputError, match="lower criterion.ngram_order"):
        token_lm.estimate(TEXTS, 5, 3)
