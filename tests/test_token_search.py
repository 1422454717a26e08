"""The batched search with an n-gram of tokens: the exact search over the same n-gram as a graph, and its plain rule."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_graphs import EXACT, random_log_probs, to_graph

from asr.criteria.lfmmi import TokenModel
from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.search.decoder import Decoder
from asr.search.token_search import TokenSearch
from asr.training import token_lm

OUTPUTS = 5


def random_model(rng: np.random.Generator) -> TokenModel:
    targets = [rng.integers(1, OUTPUTS, rng.integers(1, 7)).tolist() for _ in range(12)]
    return token_lm.estimate(targets, OUTPUTS, int(rng.integers(1, 5)))


def graph_of(model: TokenModel, weight: float):
    """The n-gram as LG: each token is a word, and each history a state."""
    source, token = np.nonzero(model.log_prob > -np.inf)
    cost, target = -weight * model.log_prob[source, token], model.successor[source, token]
    final = -weight * model.log_final
    lg = Automaton.from_arcs(model.start, final, source, token + 1, token + 1, cost, target)
    return to_graph(lg.arrays(), implicit=True)


def batch_of(rng: np.random.Generator, size: int, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = rng.integers(0, most, size)
    frames = [random_log_probs(rng, most, OUTPUTS) for _ in lengths]
    return torch.tensor(np.stack(frames), dtype=torch.float32), torch.tensor(lengths)


def slow(model: TokenModel, log_probs: np.ndarray, beam: int, weight: float, penalty: float):
    """The same rule with a dictionary: (history, output) -> (cost, alignment)."""
    found = {(model.start, 0): (0.0, ())}
    for frame in log_probs:
        after: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (history, last), (cost, alignment) in found.items():
            for output, log_prob in enumerate(frame):
                here, whole = history, cost - log_prob
                if output not in (0, last):
                    here = int(model.successor[history, output])
                    whole += penalty - weight * model.log_prob[history, output]
                if whole < after.get((here, output), (np.inf,))[0]:
                    after[here, output] = whole, (*alignment, output)
        found = dict(sorted(after.items(), key=lambda item: item[1][0])[:beam])
    return min((cost - weight * model.log_final[history], x) for (history, _), (cost, x) in found.items())


def test_with_a_wide_beam_it_is_the_exact_search():
    rng = np.random.default_rng(0)
    for weight in (0.3, 1.0, 1.0, 2.0):
        model = random_model(rng)
        log_probs, lengths = batch_of(rng, 6, 9)
        paths = TokenSearch(model, beam=600, weight=weight, token_penalty=0.25).decode(log_probs, lengths)
        decoder = Decoder(graph_of(model, weight), word_penalty=0.25, **EXACT)
        for path, each, length in zip(paths, log_probs.numpy(), lengths.tolist(), strict=True):
            exact = decoder.decode(each[:length])
            assert path.cost == pytest.approx(exact.cost, abs=1e-4)
            assert [label - 1 for label in exact.labels] == path.tokens
            assert path.alignment.tolist() == exact.alignment.tolist()


@pytest.mark.parametrize("beam", [1, 3, 8])
def test_pruning_follows_the_plain_rule(beam):
    rng, pruned = np.random.default_rng(beam), 0
    for _ in range(12):
        model = random_model(rng)
        log_probs, lengths = batch_of(rng, 3, 12)
        paths = TokenSearch(model, beam, 0.7, -0.2).decode(log_probs, lengths)
        exact = TokenSearch(model, 600, 0.7, -0.2).decode(log_probs, lengths)
        for path, each, length, best in zip(paths, log_probs.double().numpy(), lengths.tolist(), exact, strict=True):
            cost, alignment = slow(model, each[:length], beam, 0.7, -0.2)
            assert path.cost == pytest.approx(cost, abs=1e-4) and path.alignment.tolist() == list(alignment)
            pruned += path.cost > best.cost + 1e-4
    assert pruned or beam > 3


def test_an_utterance_does_not_depend_on_its_batch():
    rng = np.random.default_rng(5)
    search = TokenSearch(random_model(rng), 4)
    log_probs, lengths = batch_of(rng, 8, 20)
    for path, each, length in zip(search.decode(log_probs, lengths), log_probs, lengths, strict=True):
        [alone] = search.decode(each[None, : int(length)], length[None])
        assert (alone.tokens, alone.alignment.tolist()) == (path.tokens, path.alignment.tolist())
        assert alone.cost == pytest.approx(path.cost, abs=1e-5)


def test_what_is_refused():
    model = random_model(np.random.default_rng(0))
    with pytest.raises(InputError, match="a beam of at least 1"):
        TokenSearch(model, beam=0)
    with pytest.raises(InputError, match="the n-gram has 5 outputs, the log-probs 4"):
        TokenSearch(model).decode(torch.zeros(1, 2, 4), torch.tensor([2]))
    with pytest.raises(InputError, match="NaN"):
        TokenSearch(model).decode(torch.full((1, 2, 5), torch.nan), torch.tensor([2]))
    for lengths in ([3], [-1], [2, 2]):
        with pytest.raises(InputError, match="must be 1 numbers of frames from 0 to 2"):
            TokenSearch(model).decode(torch.zeros(1, 2, 5), torch.tensor(lengths))
    weightless = TokenSearch(model, 4, 0.0).decode(torch.zeros(1, 0, 5), torch.tensor([0]))
    assert (weightless[0].tokens, weightless[0].cost) == ([], 0.0)


def test_a_history_at_which_no_text_ends_ends_none_at_any_weight():
    model = random_model(np.random.default_rng(1))
    endless = replace(model, log_final=np.where(np.arange(len(model.log_final)) == model.start, 0.0, -np.inf))
    log_probs = torch.tensor([[[-1.0, -0.1, -9.0, -9.0, -9.0]]])
    for weight in (0.0, 1.0):
        [path] = TokenSearch(endless, 8, weight).decode(log_probs, torch.tensor([1]))
        ends = [0, *(k for k in range(1, OUTPUTS) if model.successor[model.start, k] == model.start)]
        assert np.isfinite(path.cost) and path.alignment.tolist()[0] in ends
