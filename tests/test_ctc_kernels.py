"""The CUDA kernels, run on the CPU by csrc/ctc/emulation.h, against the loss in float64 that test_ctc.py proves."""

import ctypes
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.criteria.ctc import ctc_loss

ROOT = Path(__file__).parent.parent
SHUFFLED, DESCENDING, ASCENDING = 7, 1, 0
ALL_SHARED = 1 << 16


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def run(library, case, threads=32, shared_bytes=ALL_SHARED, order=SHUFFLED, disabled_site=-1):
    """Loss (N,) and gradient (T, N, V) of `case` by the kernels; None if the barriers did not meet."""
    x, targets = np.ascontiguousarray(case["x"]), np.ascontiguousarray(case["targets"], np.int64)
    frames, batch, vocabulary = x.shape
    lengths = [np.ascontiguousarray(case[k], np.int64) for k in ("input_lengths", "target_lengths")]
    weights = np.ascontiguousarray(case.get("weights", np.ones(batch)), x.dtype)
    losses, grad = np.zeros(batch, x.dtype), np.zeros_like(x)
    call = library.ctc_float if x.dtype == np.float32 else library.ctc_double
    sizes = (ctypes.c_int64(n) for n in x.shape)
    failed = call(
        pointer(x), *sizes, pointer(targets), ctypes.c_int64(targets.shape[1]), *map(pointer, lengths),
        ctypes.c_int64(case.get("blank", 0)), case.get("zero_infinity", False), case.get("logits", True),
        threads, ctypes.c_int64(shared_bytes), order, disabled_site, pointer(losses), pointer(weights), pointer(grad),
    )  # fmt: skip
    return None if failed else (losses, grad)


def truth(case):
    x = torch.tensor(case["x"], dtype=torch.float64, requires_grad=True)
    arguments = [torch.as_tensor(np.asarray(case[k])) for k in ("targets", "input_lengths", "target_lengths")]
    options = {k: case[k] for k in ("blank", "zero_infinity", "logits") if k in case}
    losses = ctc_loss(x, *arguments, reduction="none", **{"logits": True, **options})
    losses.backward(torch.as_tensor(np.asarray(case.get("weights", np.ones(x.shape[1])))))
    return losses.detach().numpy(), x.grad.numpy()


def check(library, case, **how):
    losses, grad = run(library, case, **how)
    true_losses, true_grad = truth(case)
    np.testing.assert_allclose(losses, true_losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad, true_grad, atol=1e-4)


def draw(seed, frames, batch, vocabulary, longest, dtype=np.float32, blank=0):
    rng = np.random.default_rng(seed)
    labels = np.array([v for v in range(vocabulary) if v != blank])
    return {
        "x": rng.normal(0, 3, (frames, batch, vocabulary)).astype(dtype),
        "targets": rng.choice(labels, (batch, longest)) if longest else np.zeros((batch, 0), np.int64),
        "input_lengths": rng.integers(0, frames + 1, batch),
        "target_lengths": rng.integers(0, longest + 1, batch),
        "weights": rng.uniform(-1, 2, batch),
        "blank": blank,
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_kernels_equal_the_loss_in_float64(emulation, data):
    vocabulary = data.draw(st.integers(2, 40))
    case = draw(
        data.draw(st.integers(0, 1000)),
        frames=data.draw(st.integers(0, 24)),
        batch=data.draw(st.integers(1, 3)),
        vocabulary=vocabulary,
        longest=data.draw(st.integers(0, 12)),
        dtype=data.draw(st.sampled_from([np.float32, np.float64])),
        blank=data.draw(st.integers(0, vocabulary - 1)),
    )
    case["zero_infinity"] = data.draw(st.booleans())
    case["logits"] = data.draw(st.booleans())
    if not case["logits"]:
        case["x"] = torch.from_numpy(case["x"]).log_softmax(2).numpy()
    check(
        emulation,
        case,
        threads=data.draw(st.sampled_from([1, 2, 8, 64])),
        shared_bytes=data.draw(st.sampled_from([ALL_SHARED, 0])),
        order=data.draw(st.sampled_from([ASCENDING, DESCENDING, SHUFFLED])),
    )


def test_labels_beyond_a_block_and_beyond_the_shared_memory(emulation):
    case = draw(1, frames=150, batch=2, vocabulary=9, longest=70)
    case.update(input_lengths=[150, 149], target_lengths=[70, 61])
    check(emulation, case, threads=16)
    check(emulation, case, threads=16, shared_bytes=0)


def test_repeats_at_the_fewest_frames_and_one_below(emulation):
    case = draw(2, frames=7, batch=2, vocabulary=4, longest=4)
    case.update(targets=np.array([[2, 2, 2, 1]] * 2), target_lengths=[4, 4], input_lengths=[6, 5])
    losses, grad = run(emulation, case)
    assert np.isfinite(losses[0]) and np.isinf(losses[1]) and not grad[:, 1].any()
    check(emulation, case)


def test_a_confident_net(emulation):
    """Probabilities of 1 - 1e-7 over 300 frames: all of the loss is below float32's resolution of 1."""
    case = draw(3, frames=300, batch=1, vocabulary=8, longest=20)
    path = np.repeat(case["targets"][0], 15)
    path[::3] = 0  # blanks between
    case["targets"] = path[np.flatnonzero(np.diff(path, prepend=0) * (path > 0))][None]
    x = np.zeros((300, 1, 8), np.float32)
    x[np.arange(300), 0, path] = np.log(8 / 1e-7)
    case.update(x=x, input_lengths=[300], target_lengths=[case["targets"].shape[1]], weights=[1.0])
    check(emulation, case)


def test_a_long_utterance_keeps_its_digits(emulation):
    case = draw(4, frames=1500, batch=1, vocabulary=12, longest=90)
    case.update(input_lengths=[1500], target_lengths=[90], weights=[1.0])
    check(emulation, case)


def test_nan_scores_and_values_out_of_range_spoil_their_utterance_alone(emulation):
    case = draw(5, frames=6, batch=4, vocabulary=5, longest=2)
    case.update(input_lengths=[6, 7, 6, 6], target_lengths=[2] * 4, targets=np.array([[1, 2], [1, 2], [1, 5], [3, 4]]))
    case["x"][3, 3, 2] = np.nan
    losses, grad = run(emulation, case)
    assert np.isnan(losses).tolist() == [False, True, True, True]
    assert np.isfinite(grad[:, 0]).all() and np.isnan(grad[:, 1:]).all()


def test_nan_and_huge_values_in_many_frames(emulation):
    case = draw(9, frames=30, batch=3, vocabulary=5, longest=2)
    case.update(input_lengths=[30] * 3, target_lengths=[2] * 3, logits=False)
    case["x"][3:25, 0] = np.nan
    case["x"][3:25, 1] = 1e30
    losses, grad = run(emulation, case)
    assert np.isnan(losses).tolist() == [True, True, False] and np.isfinite(grad[:, 2]).all()


def test_the_result_is_the_same_bits_in_any_order_of_threads(emulation):
    case = draw(6, frames=40, batch=3, vocabulary=30, longest=12)
    first = run(emulation, case, order=ASCENDING)
    for order in (DESCENDING, SHUFFLED, 8, 9):
        for a, b in zip(first, run(emulation, case, order=order), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_barrier_is_needed(emulation):
    """Without any one of them some order of threads gives another result, or the emulation refuses."""
    cases = [draw(7, frames=12, batch=2, vocabulary=21, longest=9) for _ in range(2)]
    for case, size in zip(cases, (9, 3), strict=True):
        case.update(input_lengths=[12, 12], target_lengths=[size, size], weights=[1.0, 0.5])
    right = [run(emulation, case) for case in cases]

    def noticed(site):
        for case, (losses, grad) in zip(cases, right, strict=True):
            for order in (ASCENDING, DESCENDING, SHUFFLED, 8, 9):
                for threads in (8, 32):
                    result = run(emulation, case, threads=threads, order=order, disabled_site=site)
                    if result is None or not np.allclose(result[0], losses) or not np.allclose(result[1], grad):
                        return True
        return False

    sites = emulation.ctc_barriers()
    assert sites >= 5
    assert [site for site in range(sites) if not noticed(site)] == []


def test_more_utterances_than_a_grid_has_along_y(emulation):
    """CUDA allows 65,535 blocks along y; the kernels number their blocks along x alone."""
    batch = 70_000
    case = draw(8, frames=1, batch=batch, vocabulary=2, longest=1)
    case.update(targets=np.ones((batch, 1), np.int64), input_lengths=[1] * batch, target_lengths=[1] * batch)
    check(emulation, case, threads=2)


def test_more_frames_than_a_grid_has_along_x_are_refused(emulation):
    """2^31 frames in all need 40 GB of state; the emulation refuses the launch before it touches any memory."""
    assert emulation.ctc_num_rows(ctypes.c_int64(46_341), ctypes.c_int64(46_341)) == -1
    assert emulation.ctc_num_rows(ctypes.c_int64(46_340), ctypes.c_int64(46_340)) == 46_340**2


KERNELS = {"NormalizeRows", "ComputeAlpha", "ComputeOccupancy", "ComputeGradient"}
KERNELS |= {"SumForward", "SumBackward", "SumLabels"}


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc: CUDA kernels are not compiled")
def test_the_kernels_compile_without_spills_and_as_the_table_says():
    ptxas = runpy.run_path(str(ROOT / "benchmarks" / "ptxas.py"))
    written = json.loads((ROOT / "benchmarks" / "results" / "ptxas.json").read_text())
    rows = [row for architecture in ptxas["ARCHITECTURES"] for row in ptxas["compile_report"](architecture)]
    assert len(rows) == len(KERNELS) * 2 * 4 and {row["kernel"] for row in rows} == KERNELS
    for row in rows:
        assert row["spill_bytes"] == 0 and row["registers"] <= 128, row  # 512 threads per block fit
    if ptxas["nvcc_version"]() == written["nvcc"]:
        assert rows == written["rows"], "run benchmarks/ptxas.py and copy its table to docs/measured/ctc.md"
