"""The CUDA kernels of totals.cuh, run on the CPU by emulation.h, against enumeration and the sums of the CPU."""

import ctypes
import math
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acceptor import acceptor, acceptors, enumerated, loop, summed
from test_lfmmi import draw_model

from asr.criteria import operators, totals
from asr.criteria.acceptor import Acceptor
from asr.criteria.lfmmi import ctc_crf_loss

INF = math.inf
ASCENDING, DESCENDING, SHUFFLED = 0, 1, 7
ALL_SHARED = 1 << 16


class Diverged(Exception):
    """The threads of a block waited at different barriers."""


@contextmanager
def emulated(library, threads=32, shared_bytes=ALL_SHARED, order=SHUFFLED, disabled_site=-1, most_words=1 << 27):
    """Within it, sums over CPU tensors are those of the kernels."""

    class Totals:
        """The interface of _ctc_cuda; arguments are addresses as well."""

        call = library.totals_float

        def __init__(self, *arguments):
            self.arguments = arguments

        def state_words(self, goes_back):
            frames, (emitting, states, chunks) = self.arguments[1], self.arguments[-3:]
            return 2 + frames * emitting * goes_back + 2 * (2 * states + chunks)

        def run(self, memory, totals, occupancy, stride_t, stride_n, stream):
            words = [ctypes.c_int64(word) for word in self.arguments]
            outputs = [ctypes.c_int64(word) for word in (totals, occupancy, stride_t, stride_n)]
            if self.call(*words, *outputs, threads, ctypes.c_int64(shared_bytes), order, disabled_site):
                raise Diverged

    class Doubles(Totals):
        call = library.totals_double

    extension = SimpleNamespace(FloatTotals=Totals, DoubleTotals=Doubles)
    with ExitStack() as stack:
        for owner, name, value in [
            (totals, "_sum_on_cpu", totals._sum_on_gpu), (totals, "MOST_WORDS", most_words),
            (operators, "_ctc_cuda", extension), (torch.cuda, "device", lambda device: nullcontext()),
            (torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0)),
        ]:  # fmt: skip
            stack.enter_context(patch.object(owner, name, value))
        yield Totals


def check(library, x, lengths, graphs, **how):
    """The kernels store alpha with the digits of float32, so posteriors have these."""
    expected = summed(x, lengths, graphs)
    with emulated(library, **how):
        found = summed(x, lengths, graphs)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-11, atol=1e-10, equal_nan=True)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-6, equal_nan=True)


def test_the_extension_has_the_interface_of_the_emulation(totals_emulation):
    """All of it that needs no GPU: a batch without utterances launches nothing."""
    extension = pytest.importorskip("asr._ctc_cuda", reason="the kernels are not built: no nvcc")
    arguments = (0, 7, 0, 5, 35, 5, 0, 0, 0, 11, 13, 17)
    with emulated(totals_emulation) as Totals:
        for kind in (extension.FloatTotals, extension.DoubleTotals):
            for goes_back in (False, True):
                assert kind(*arguments).state_words(goes_back) == Totals(*arguments).state_words(goes_back)
            kind(*arguments).run(0, 0, 0, 0, 0, 0)


@settings(deadline=None, max_examples=60)
@given(acceptors(), acceptors(), st.integers(0, 3), st.integers(1, 4), st.integers(0, 2**31), st.data())
def test_equals_the_sum_over_all_paths(totals_emulation, graph, other, frames, batch, seed, data):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(frames, batch, 3, generator=generator, dtype=torch.float64) * 3
    x[torch.rand(x.shape, generator=generator) < 0.15] = -INF
    x[torch.rand(x.shape, generator=generator) < 0.1] -= 500
    lengths = torch.randint(0, frames + 1, (batch,), generator=generator)
    graphs = data.draw(st.sampled_from([graph, [graph if n % 2 else other for n in range(batch)]]))
    each = [graphs] * batch if isinstance(graphs, Acceptor) else graphs
    how = {
        "threads": data.draw(st.sampled_from([1, 2, 8, 32])),
        "shared_bytes": data.draw(st.sampled_from([ALL_SHARED, 0])),
        "order": data.draw(st.sampled_from([ASCENDING, DESCENDING, SHUFFLED])),
    }
    with emulated(totals_emulation, **how):
        found, grad = summed(x, lengths, graphs)
    own = x.clone().requires_grad_()
    expected = torch.stack([enumerated(own[:n, k], each[k]) for k, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-11, atol=1e-11)
    weights = torch.arange(1.0, batch + 1, dtype=torch.float64)
    finite = expected > -INF
    true_grad = torch.autograd.grad((expected * weights)[finite].sum(), own)[0] if finite.any() else torch.zeros_like(x)
    torch.testing.assert_close(grad, true_grad.nan_to_num(), rtol=1e-6, atol=1e-6)


def denominator(histories=30, outputs=12, seed=3):
    return draw_model(histories, outputs, seed).ctc


def test_more_states_and_arcs_than_threads(totals_emulation):
    """A token n-gram, and one history that 300 tokens lead to, whose sum is one of many chunks."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(25, 3, 12, generator=generator) * 3
    check(totals_emulation, x, [25, 1, 13], denominator())
    check(totals_emulation, x, [25, 1, 13], denominator(), threads=8, shared_bytes=0)
    check(totals_emulation, torch.randn(6, 2, 300, generator=generator) * 3, [6, 4], denominator(1, 300), threads=16)


def test_silent_states_in_several_levels(totals_emulation):
    rng = np.random.default_rng(5)
    arcs = [(a, -1, rng.normal(), a + step) for a in range(9) for step in (1, 3) if a + step < 10]
    arcs += [(a, int(rng.integers(4)), rng.normal() - 1, int(rng.integers(10))) for a in range(10) for _ in range(2)]
    graph = acceptor(arcs, [0.0] + [-INF] * 9, [-INF] * 8 + [0.0, -1.0])
    check(totals_emulation, torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(2)), [12, 0, 7], graph)


@pytest.mark.parametrize("gap", [100.0, 700.0, 1e5])
def test_what_seems_lost_at_first_may_win_in_the_end(totals_emulation, gap):
    arcs = [(0, 0, 0.0, 1), (1, 0, 0.0, 1), (0, 1, 0.0, 2), (2, 1, 0.0, 2)]
    x = torch.zeros(50, 2, 2, dtype=torch.float64)
    x[:, :, 1] = -gap
    check(totals_emulation, x, [50, 30], acceptor(arcs, [0.0, -INF, -INF], [-INF, -INF, 0.0]))


def test_a_long_utterance_keeps_its_digits(totals_emulation):
    x = torch.randn(2000, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7)).log_softmax(2)
    check(totals_emulation, x, [2000], draw_model().ctc, threads=8)


def test_nan_and_numbers_above_the_limit_are_told(totals_emulation):
    x = torch.zeros(3, 4, 3)
    x[1, 0, 1], x[2, 1, 0], x[1, 2, 2] = math.nan, 1001.0, math.nan  # the last is no label of the acceptor
    x[2, 3] = math.nan  # after the end
    check(totals_emulation, x, [3, 3, 3, 2], loop())


def test_no_utterances_no_frames_no_states(totals_emulation):
    nothing = acceptor([], [], [])
    with emulated(totals_emulation):
        assert totals.log_totals(torch.zeros(3, 0, 2), [], loop()).shape == (0,)
        assert totals.log_totals(torch.zeros(0, 2, 2), [0, 0], loop()).tolist() == [0.0, 0.0]
        assert totals.log_totals(torch.zeros(2, 1, 2), [2], nothing).tolist() == [-INF]
    check(totals_emulation, torch.zeros(2, 1, 2), [2], nothing)


def test_the_loss_in_other_types_and_strides_and_in_parts(totals_emulation):
    """Outputs of a net are (N, F, V) and may be half-precision; memory for one utterance at a time is enough."""
    model = draw_model(4, 6)
    arguments = (torch.tensor([[1, 2], [3, 3], [5, 0]]), [9, 7, 4], [2, 2, 1], model)
    for dtype in (torch.float64, torch.float32, torch.float16):
        x = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(4)).to(dtype).requires_grad_()
        found = []
        for how in (None, {}, {"most_words": 1}):
            with emulated(totals_emulation, **how) if how is not None else nullcontext():
                losses = ctc_crf_loss(x.transpose(0, 1), *arguments)
                found.append((losses.detach(), torch.autograd.grad(losses.sum(), x)[0]))
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=2e-6)
        assert all(map(torch.equal, found[1], found[2])) and found[1][1].dtype == dtype


def test_the_result_is_the_same_bits_in_any_order_of_threads(totals_emulation):
    x = torch.randn(9, 2, 12, generator=torch.Generator().manual_seed(6))
    results = []
    for order in (ASCENDING, DESCENDING, SHUFFLED, 8):
        with emulated(totals_emulation, order=order):
            results.append(summed(x, [9, 5], denominator()))
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


def test_every_barrier_is_needed(totals_emulation):
    """Without any one of them some order of threads gives another result, or the emulation refuses."""
    x = torch.randn(7, 2, 12, generator=torch.Generator().manual_seed(8))
    graph = denominator(9)
    right = summed(x, [7, 7], graph)

    def noticed(site):
        for order in (ASCENDING, DESCENDING, SHUFFLED, 8, 9):
            for threads in (8, 32):
                try:
                    with emulated(totals_emulation, threads=threads, order=order, disabled_site=site):
                        found = summed(x, [7, 7], graph)
                except Diverged:
                    return True
                if not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, right, strict=True)):
                    return True
        return False

    sites = totals_emulation.totals_barriers()
    assert sites >= 8
    assert [site for site in range(sites) if not noticed(site)] == []
