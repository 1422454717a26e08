"""CTC against brute force, torch, the readable reference and finite differences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.criteria import ctc_forced_align, ctc_greedy, ctc_loss, operators
from asr.criteria.ctc import ctc_loss_reference
from asr.errors import InputError
from asr.tokens import min_frames

torch_ctc = torch.nn.functional.ctc_loss


def brute_force(x, target, blank=0):
    """The negative log of the summed probability of every path that collapses to the target; x (T, V) log-probs."""
    total = -math.inf
    for path in itertools.product(range(x.shape[1]), repeat=x.shape[0]):
        collapsed = [k for k, _ in itertools.groupby(path) if k != blank]
        if collapsed == list(target):
            log_prob = sum(float(x[t, k]) for t, k in enumerate(path))
            total = max(total, log_prob) + math.log1p(math.exp(-abs(total - log_prob)))
    return -total


def draw_batch(seed, frames=40, batch=5, vocabulary=9, longest=10, blank=0, dtype=torch.float32):
    """Logits and targets of all kinds of length: full, empty, at the least number of frames, with repeats."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(frames, batch, vocabulary, generator=generator, dtype=dtype)
    labels = [k for k in range(vocabulary) if k != blank]
    choice = torch.randint(0, len(labels), (batch, longest), generator=generator)
    targets = torch.tensor(labels)[choice]
    target_lengths = torch.randint(0, longest + 1, (batch,), generator=generator)
    input_lengths = []
    for row, size in zip(targets, target_lengths.tolist(), strict=True):
        least = min_frames(row[:size])
        tight = torch.rand((), generator=generator) < 0.4
        input_lengths.append(least if tight else int(torch.randint(least, frames + 1, (), generator=generator)))
    return x, targets, torch.tensor(input_lengths), target_lengths


def loss_and_grad(loss, x):
    x = x.clone().requires_grad_()
    value = loss(x)
    weights = torch.arange(1, value.numel() + 1, dtype=value.dtype).view(value.shape)
    return value.detach(), *torch.autograd.grad((value * weights).sum(), x)


def joined(targets, lengths):
    return torch.cat([row[:n] for row, n in zip(targets, lengths.tolist(), strict=True)])


@pytest.mark.parametrize("target", [[], [1], [2, 1], [1, 1], [1, 2, 1], [2, 2, 2], [1, 2, 1, 2, 2]])
@pytest.mark.parametrize("frames", [0, 1, 3, 5, 6])
def test_equals_the_sum_over_all_alignments(target, frames):
    x = torch.randn(frames, 1, 3, generator=torch.Generator().manual_seed(frames)).log_softmax(2)
    truth = brute_force(x[:, 0].double(), target)
    loss = ctc_loss(x, torch.tensor([target], dtype=torch.int64), [frames], [len(target)], reduction="sum")
    assert float(loss) == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert float(ctc_loss_reference(x[:, 0].double(), target)) == pytest.approx(truth, rel=1e-9, abs=1e-12)
    assert math.isinf(truth) == (frames < min_frames(target))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_equals_torch(reduction, join, logits):
    x, targets, frames, sizes = draw_batch(1)
    given_targets = joined(targets, sizes) if join else targets
    options = {"reduction": reduction, "blank": 0}
    truth, grad = loss_and_grad(lambda x: torch_ctc(x.log_softmax(2), targets, frames, sizes, **options), x.double())

    def ours(x):
        return ctc_loss(x if logits else x.log_softmax(2), given_targets, frames, sizes, logits=logits, **options)

    loss, our_grad = loss_and_grad(ours, x)
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=0)
    torch.testing.assert_close(our_grad.double(), grad, rtol=0, atol=2e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_random_shapes_equal_torch(data):
    vocabulary = data.draw(st.integers(2, 40))
    blank = data.draw(st.integers(0, vocabulary - 1))
    shape = {"frames": data.draw(st.integers(60, 90)), "batch": data.draw(st.integers(1, 4))}
    longest = data.draw(st.integers(0, 30))
    x, targets, frames, sizes = draw_batch(data.draw(st.integers(0, 999)), **shape, vocabulary=vocabulary,
                                           longest=longest, blank=blank)  # fmt: skip
    truth, grad = loss_and_grad(
        lambda x: torch_ctc(x.log_softmax(2), targets, frames, sizes, blank, "none"), x.double()
    )
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        loss, our_grad = loss_and_grad(
            lambda x: ctc_loss(x, targets, frames, sizes, blank, "none", logits=True), x.to(dtype)
        )
        torch.testing.assert_close(loss.double(), truth, rtol=tolerance, atol=0)
        torch.testing.assert_close(our_grad.double(), grad, rtol=0, atol=tolerance)


def test_gradient_of_log_probs_is_the_true_derivative():
    x, targets, frames, sizes = draw_batch(2, frames=8, batch=3, vocabulary=4, longest=3, dtype=torch.float64)
    for logits in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, logits=logits: ctc_loss(x, targets, frames, sizes, reduction="none", logits=logits),
            x.requires_grad_(),
        )


def test_log_probs_need_not_be_normalised():
    x, target = torch.randn(7, 3, dtype=torch.float64) * 5, [1, 2]
    loss = ctc_loss(x[:, None], torch.tensor([target]), [7], [2], reduction="sum")
    assert float(loss) == pytest.approx(float(ctc_loss_reference(x, target)), rel=1e-12)


@pytest.mark.parametrize("margin", [5.0, 16.0, 80.0, 1e4])
def test_confident_log_probs_keep_their_precision(margin):
    """Probabilities up to 1 - 1e-7 and above, for correct and for wrong outputs."""
    frames, vocabulary = 300, 20
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(1, vocabulary, (2, 30), generator=generator)
    x = torch.randn(frames, 2, vocabulary, generator=generator) * 0.1
    for i in range(30):
        x[10 * i + 4, 0, targets[0, i]] += 2 * margin
    x[:, :, 0] += margin  # utterance 0 is correct, utterance 1 is all blank
    lengths = [frames, frames], [30, 30]
    truth, grad = loss_and_grad(lambda x: torch_ctc(x.log_softmax(2), targets, *lengths, reduction="none"), x.double())
    loss, our_grad = loss_and_grad(lambda x: ctc_loss(x, targets, *lengths, reduction="none", logits=True), x)
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=1e-30)
    torch.testing.assert_close(our_grad.double(), grad, rtol=0, atol=1e-5)


def test_long_utterances_keep_their_precision():
    x = torch.randn(3000, 1, 30, generator=torch.Generator().manual_seed(4))
    targets = torch.randint(1, 30, (1, 400), generator=torch.Generator().manual_seed(5))
    truth, grad = loss_and_grad(lambda x: torch_ctc(x.log_softmax(2), targets, [3000], [400]), x.double())
    loss, our_grad = loss_and_grad(lambda x: ctc_loss(x, targets, [3000], [400], logits=True), x)
    assert float(loss) == pytest.approx(float(truth), rel=1e-6)
    assert float((our_grad - grad).abs().max()) * 400 < 1e-5


def test_too_few_frames():
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(6))
    targets = torch.tensor([[1, 1, 2, 0], [1, 2, 3, 4], [2, 2, 2, 0]])
    frames, sizes = torch.tensor([4, 3, 4]), torch.tensor([3, 4, 3])
    loss, grad = loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, reduction="none", logits=True), x)
    assert torch.isfinite(loss).tolist() == [True, False, False] and loss[1] == math.inf
    assert not grad[:, 1:].any() and grad[:, 0].any()
    for reduction in ("none", "sum", "mean"):
        options = {"reduction": reduction, "zero_infinity": True}
        truth = torch_ctc(x.log_softmax(2), targets, frames, sizes, **options)
        torch.testing.assert_close(ctc_loss(x, targets, frames, sizes, logits=True, **options), truth)


def test_impossible_label_and_nan():
    x = torch.zeros(6, 3, 4)
    x[:, 1, 2] = -math.inf
    x[2, 2, 1] = math.nan
    targets = torch.tensor([[1, 2]] * 3)
    for logits in (False, True):
        loss, grad = loss_and_grad(
            lambda x, logits=logits: ctc_loss(x, targets, [6] * 3, [2] * 3, reduction="none", logits=logits), x
        )
        assert math.isfinite(loss[0]) and loss[1] == math.inf and math.isnan(loss[2])
        assert torch.isfinite(grad[:, :2]).all() and not grad[:, 1].any() and grad[:, 2].isnan().all()


def test_positive_values_do_not_make_an_impossible_target_possible():
    targets = torch.full((1, 150), 2)
    for value, truth in ((1e3 - 1, math.inf), (1e6, math.nan)):
        loss = ctc_loss(torch.full((200, 1, 4), value), targets, [200], [150], reduction="sum")
        assert float(loss) == truth or math.isnan(truth) and loss.isnan()


@pytest.mark.parametrize("strides", [(1, 1, 1), (5, 1, 1), (2, 1, 1), (0, 1, 1), (0, 5, 1), (5, 0, 1), (0, 0, 0)])
def test_an_x_that_overlaps_itself(strides):
    base = torch.randn(200, generator=torch.Generator().manual_seed(13))
    targets, lengths = torch.tensor([[1, 2], [3, 3]]), ([7, 6], [2, 2])
    x = base.as_strided((7, 2, 5), strides)
    grads = []
    for y in (x, x.contiguous()):
        y = y.detach().requires_grad_()
        (grad,) = torch.autograd.grad(ctc_loss(y, targets, *lengths, reduction="sum", logits=True), y)
        grads.append(grad)
    assert torch.equal(*grads)


def test_empty_batch_and_no_frames():
    none = torch.empty(5, 0, 4, requires_grad=True)
    assert ctc_loss(none, torch.empty(0, 3, dtype=torch.int64), [], [], reduction="sum") == 0
    x = torch.empty(0, 2, 4, requires_grad=True)
    loss = ctc_loss(x, torch.tensor([[1], [1]]), [0, 0], [0, 1], reduction="none")
    assert loss.tolist() == [0.0, math.inf]
    loss.sum().backward()
    assert x.grad.shape == x.shape


def test_padding_strides_and_upstream_do_not_matter():
    x, targets, frames, sizes = draw_batch(7)
    loss, grad = loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, reduction="none", logits=True), x)
    batch_first = x.transpose(0, 1).contiguous()
    other, other_grad = loss_and_grad(
        lambda x: ctc_loss(x.transpose(0, 1), targets, frames, sizes, reduction="none", logits=True), batch_first
    )
    assert torch.equal(loss, other) and torch.equal(grad, other_grad.transpose(0, 1))
    wild = x.clone()
    for n, length in enumerate(frames.tolist()):
        wild[length:, n] = math.nan
        assert not grad[length:, n].any()
    other, other_grad = loss_and_grad(
        lambda x: ctc_loss(x, targets, frames, sizes, reduction="none", logits=True), wild
    )
    assert torch.equal(loss, other) and torch.equal(grad, other_grad)
    strided = torch.stack([x, x], dim=3)[..., 0]
    assert torch.equal(ctc_loss(strided, targets, frames, sizes, reduction="none", logits=True), loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    x, targets, frames, sizes = draw_batch(9)
    x = x.to(dtype)
    loss, grad = loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, logits=True), x)
    truth, true_grad = loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, logits=True), x.float())
    assert torch.equal(loss, truth) and grad.dtype == dtype
    torch.testing.assert_close(grad, true_grad.to(dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(5, 4)}, r"expected floating point \(T, N, V\)"),
        ({"x": torch.zeros(5, 2, 4, dtype=torch.int64)}, r"expected floating point \(T, N, V\)"),
        ({"targets": torch.ones(3, 2, dtype=torch.int64)}, r"\(2, S\) padded"),
        ({"targets": torch.ones(2, 2)}, "expected integers"),
        ({"targets": torch.tensor([1, 2, 3])}, "the number of labels, 3"),
        ({"targets": torch.tensor([[1, 0], [1, 1]])}, "utterance 0 .* label 1: 0 is the blank"),
        ({"targets": torch.tensor([[1, 2], [4, 1]])}, r"utterance 1 .* 4 is outside 0\.\.3"),
        ({"input_lengths": [5, 6]}, r"utterance 1 .* input length 6 is outside 0\.\.5"),
        ({"input_lengths": [5]}, "expected 2 integers"),
        ({"target_lengths": [3, 1]}, r"target length 3 is outside 0\.\.2"),
        ({"target_lengths": [1, -1]}, r"target length -1"),
        ({"blank": 4}, "one of the 4 outputs"),
        ({"reduction": "average"}, "expected one of none, sum, mean"),
        ({"weights": torch.ones(3)}, r"weights have shape \(3,\)"),
        ({"x": torch.zeros(5), "weights": torch.ones(3)}, r"expected floating point \(T, N, V\)"),
        ({"targets": torch.ones(2, 2, dtype=torch.complex64)}, "expected integers"),
        ({"target_lengths": torch.tensor([True, True])}, "expected 2 integers"),
    ],
)
def test_bad_input_is_refused_with_the_reason(change, message):
    arguments = {
        "x": torch.zeros(5, 2, 4),
        "targets": torch.tensor([[1, 2], [3, 1]]),
        "input_lengths": [5, 5],
        "target_lengths": [2, 2],
    }
    with pytest.raises(InputError, match=message):
        ctc_loss(**{**arguments, **change})


def test_min_frames_counts_repeats():
    assert min_frames([]) == 0
    assert min_frames([4, 4, 4, 2]) == 6
    assert min_frames(torch.tensor([1, 2, 2])) == 4


def test_greedy_merges_repeats_then_removes_blanks():
    paths = [[0, 1, 1, 0, 1, 2], [3, 3, 0, 0, 1, 1]]
    log_probs = torch.nn.functional.one_hot(torch.tensor(paths), 4).float()
    assert ctc_greedy(log_probs, [6, 3]) == [[1, 1, 2], [3]]
    assert ctc_greedy(log_probs, torch.tensor([0, 6]), blank=3) == [[], [0, 1]]
    with pytest.raises(InputError, match=r"expected \(N, F, V\)"):
        ctc_greedy(log_probs[0], [6])
    for wrong in (-1, 7):
        with pytest.raises(InputError, match=r"outside 0\.\.6"):
            ctc_greedy(log_probs, [6, wrong])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, -1e300, -math.inf])
@pytest.mark.parametrize("logits", [False, True])
def test_odd_values_in_many_frames(value, logits):
    """Exponents of NaN are large: their sums over frames must not overflow (`make sanitize` sees it)."""
    x = torch.randn(50, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(21))
    x[5:45, 0, 1:3] = value
    targets = torch.tensor([[1, 2, 1], [3, 4, 3]])
    loss, grad = loss_and_grad(lambda x: ctc_loss(x, targets, [50, 50], [3, 3], reduction="none", logits=logits), x)
    impossible = value == -math.inf or value == -1e300
    assert torch.isfinite(loss[0]) if impossible else loss[0].isnan() or logits and value == 1e300
    assert torch.isfinite(loss[1]) and torch.isfinite(grad[:, 1]).all()
    paths, _ = ctc_forced_align(x, targets, [50, 50], [3, 3], logits=logits)
    assert (paths[1] >= 0).all()


def test_more_than_31_bits_of_outputs():
    """x of 2^32 elements without memory: one frame, repeated by strides of 0."""
    frames, vocabulary = 1 << 16, 1 << 16
    row = torch.full((vocabulary,), -math.log(vocabulary))
    x = row.expand(frames, 1, vocabulary)
    targets = torch.tensor([[vocabulary - 1]])
    loss = ctc_loss(x, targets, [frames], [1], reduction="none")
    paths = frames * (frames + 1) // 2  # the label begins and ends anywhere
    expected = frames * math.log(vocabulary) - math.log(paths)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    path, _ = ctc_forced_align(x, targets, [frames], [1])
    assert int((path == vocabulary - 1).sum()) >= 1 and path.shape == (1, frames)


@pytest.mark.parametrize("shape", [(1, 1, 1 << 31), (1 << 31, 1, 2), (1, 1 << 31, 2)])
def test_sizes_of_more_than_31_bits_are_refused(shape):
    x = torch.zeros(1).expand(shape)
    lengths = torch.zeros(1, dtype=torch.int64).expand(shape[1])
    with pytest.raises(InputError, match="each size must be below 2\\^31"):
        ctc_loss(x, torch.zeros(1, 1, dtype=torch.int64).expand(shape[1], 1), lengths, lengths)


def test_outputs_at_odd_addresses_are_copied():
    x, targets, frames, sizes = draw_batch(23)
    odd = torch.frombuffer(bytearray(b"." + x.numpy().tobytes()), dtype=torch.float32, offset=1).view(x.shape)
    assert odd.data_ptr() % 4 and all(t.data_ptr() % 4 == 0 for t in operators.aligned(odd))
    for a, b in zip(
        loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, logits=True), odd),
        loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, logits=True), x), strict=True,
    ):  # fmt: skip
        assert torch.equal(a, b)
    found, wanted = (ctc_forced_align(y, targets, frames, sizes, logits=True)[0] for y in (odd, x))
    assert torch.equal(found, wanted)
