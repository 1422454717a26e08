"""Forced alignment against brute force and torchaudio; posteriors against their definition."""

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.criteria import ctc_forced_align, ctc_infeasible, ctc_loss, ctc_occupancy
from asr.errors import InputError
from asr.tokens import min_frames


def paths_of(target, frames, vocabulary, blank=0):
    for path in itertools.product(range(vocabulary), repeat=frames):
        if [k for k, _ in itertools.groupby(path) if k != blank] == list(target):
            yield path


def draw(seed, frames, batch, vocabulary, longest, dtype=torch.float64):
    """Log-probs and feasible targets; the first utterance has the full length, the others other lengths."""
    generator = torch.Generator().manual_seed(seed)
    x = (3 * torch.randn(frames, batch, vocabulary, generator=generator, dtype=dtype)).log_softmax(2)
    targets = torch.randint(1, vocabulary, (batch, longest), generator=generator)
    sizes = torch.randint(0, longest + 1, (batch,), generator=generator)
    sizes[0] = longest
    least = [min_frames(row[:size]) for row, size in zip(targets, sizes.tolist(), strict=True)]
    lengths = torch.tensor([int(torch.randint(n, frames + 1, (), generator=generator)) for n in least])
    lengths[0] = frames
    return x, targets, lengths, sizes


def torchaudio_align(x, target):
    forced_align = pytest.importorskip("torchaudio.functional").forced_align
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, log_probs = forced_align(x.transpose(0, 1).contiguous(), target[None])
    return path[0], log_probs[0]


@pytest.mark.parametrize("target", [[], [1], [1, 1], [2, 1, 2], [2, 2, 1]])
@pytest.mark.parametrize("frames", [1, 4, 6])
def test_equals_the_best_of_all_paths(target, frames):
    x = torch.randn(frames, 1, 3, generator=torch.Generator().manual_seed(frames)).log_softmax(2)
    best = max(paths_of(target, frames, 3), default=None, key=lambda p: sum(float(x[t, 0, k]) for t, k in enumerate(p)))
    paths, log_probs = ctc_forced_align(x, torch.tensor([target], dtype=torch.int64), [frames], [len(target)])
    if best is None:
        assert paths[0].tolist() == [-1] * frames and log_probs.tolist() == [[-math.inf] * frames]
    else:
        assert paths[0].tolist() == list(best)
        assert torch.equal(log_probs[0], x[range(frames), 0, list(best)])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 9999), st.integers(1, 4), st.integers(2, 30), st.integers(0, 25))
def test_batches_equal_torchaudio_one_by_one(seed, batch, vocabulary, longest):
    x, targets, frames, sizes = draw(seed, 70, batch, vocabulary, longest)
    paths, log_probs = ctc_forced_align(x, targets, frames, sizes)
    for n, (length, size) in enumerate(zip(frames.tolist(), sizes.tolist(), strict=True)):
        assert (paths[n, length:] == -1).all() and not log_probs[n, length:].any()
        if size and length:  # torchaudio refuses empty ones
            path, expected = torchaudio_align(x[:length, n : n + 1], targets[n, :size])
            assert torch.equal(paths[n, :length], path)
            torch.testing.assert_close(log_probs[n, :length], expected)


def test_a_long_utterance_equals_torchaudio():
    x, targets, frames, sizes = draw(1, 2500, 1, 40, 700)
    paths, log_probs = ctc_forced_align(x, targets, frames, sizes)
    path, expected = torchaudio_align(x, targets[0])
    assert torch.equal(paths[0], path) and torch.equal(log_probs[0], expected)


def test_float32_finds_a_path_at_least_as_good_as_torchaudios():
    x, targets, frames, sizes = draw(2, 1500, 1, 500, 150, torch.float32)
    _, log_probs = ctc_forced_align(x, targets, frames, sizes)
    _, expected = torchaudio_align(x, targets[0])
    assert log_probs.dtype == torch.float32
    assert float(log_probs.double().sum()) >= float(expected.double().sum())


def test_logits_strides_and_threads_do_not_matter():
    x, targets, frames, sizes = draw(3, 90, 5, 12, 20)
    paths, log_probs = ctc_forced_align(x, targets, frames, sizes)
    shifted = x + torch.randn(90, 5, 1, dtype=x.dtype)
    others = [(shifted, True), (x.transpose(0, 1).contiguous().transpose(0, 1), False)]
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        for y, logits in others:
            other_paths, other_log_probs = ctc_forced_align(y, targets, frames, sizes, logits=logits)
            assert torch.equal(paths, other_paths)
            torch.testing.assert_close(log_probs, other_log_probs)
    torch.set_num_threads(before)
    half, _ = ctc_forced_align(x.half(), targets, frames, sizes)
    assert half.shape == paths.shape


def test_bad_utterances_are_reported_and_do_not_affect_others():
    x, targets, frames, sizes = draw(4, 30, 4, 6, 8)
    frames[:], sizes[:] = 30, 8
    targets[1] = 3
    frames[1] = 14  # 8 equal labels need 15
    x[7, 2, targets[2, 0]] = math.nan
    paths, log_probs = ctc_forced_align(x, targets, frames, sizes)
    assert ctc_infeasible(targets, frames, sizes) == [1]
    assert (paths[1:3] == -1).all() and (log_probs[1, :14] == -math.inf).all() and log_probs[2].isnan().all()
    alone = ctc_forced_align(x[:, 3:], targets[3:], frames[3:], sizes[3:])
    assert torch.equal(paths[3:], alone[0]) and torch.equal(log_probs[3:], alone[1])
    with pytest.raises(InputError, match=r"utterance 0 .* input length 31"):
        ctc_forced_align(x, targets, [31, 30, 30, 30], sizes)


def test_logits_of_any_size_and_nan_beside_the_target():
    x, targets, frames, sizes = draw(7, 30, 3, 6, 4)
    paths, _ = ctc_forced_align(x, targets, frames, sizes)
    large, _ = ctc_forced_align(x + 2e8, targets, frames, sizes, logits=True)
    assert large.shape == paths.shape and (large[0] >= 0).all()
    targets[targets == 5] = 4
    x[2, 0, 5] = math.nan  # in no target, but in the softmax
    paths, log_probs = ctc_forced_align(x, targets, frames, sizes, logits=True)
    assert (paths[0] == -1).all() and log_probs[0].isnan().all() and (paths[1, : frames[1]] >= 0).all()


def test_a_lazily_negated_x():
    x, targets, frames, sizes = draw(8, 20, 2, 5, 3)
    for function in (ctc_forced_align, lambda *a: (ctc_occupancy(*a),)):
        a, b = function(-x, targets, frames, sizes), function(torch._neg_view(x), targets, frames, sizes)
        assert all(torch.equal(left, right) for left, right in zip(a, b, strict=True))


@pytest.mark.parametrize("logits", [False, True])
def test_occupancy_is_the_share_of_the_paths(logits):
    frames, vocabulary, target = 5, 3, [1, 2]
    x = torch.randn(frames, 1, vocabulary, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    log_probs = x.log_softmax(2)
    truth = torch.zeros(frames, vocabulary, dtype=torch.float64)
    for path in paths_of(target, frames, vocabulary):
        probability = math.exp(sum(float(log_probs[t, 0, k]) for t, k in enumerate(path)))
        truth[range(frames), list(path)] += probability
    occupancy = ctc_occupancy(x if logits else log_probs, torch.tensor([target]), [frames], [2], logits=logits)
    torch.testing.assert_close(occupancy[:, 0], truth / truth[0].sum())


def test_occupancy_sums_to_one_and_is_the_gradient():
    x, targets, frames, sizes = draw(6, 40, 4, 9, 10)
    frames[3] = 0
    sizes[3] = 4  # impossible
    occupancy = ctc_occupancy(x, targets, frames, sizes)
    for n, length in enumerate(frames.tolist()):
        torch.testing.assert_close(occupancy[:length, n].sum(1), torch.ones(length, dtype=x.dtype))
        assert not occupancy[length:, n].any()
    x.requires_grad_()
    ctc_loss(x, targets, frames, sizes, reduction="sum", zero_infinity=True).backward()
    assert torch.equal(occupancy, -x.grad)
