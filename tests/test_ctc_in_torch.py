"""ctc_loss as a part of torch: threads, forks, compilation, autocast, several processes, the CUDA operators."""

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ctc import draw_batch, loss_and_grad
from torch.nn.parallel import DistributedDataParallel

from asr.criteria import ctc_loss, operators

SIZES = {"frames": 500, "vocabulary": 40, "longest": 60}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def spoil(x, frames):
    """The second to last utterance has NaN, the last one too few frames."""
    x[3, -2] = float("nan")
    frames[-2:] = torch.tensor([500, 1])


@pytest.mark.parametrize("batch", [1, 2, 3, 13])
@pytest.mark.parametrize("logits", [False, True])
def test_same_bits_for_any_number_of_threads(threads, batch, logits):
    """Fewer utterances than threads, each split into blocks, and more."""
    x, targets, frames, sizes = draw_batch(8, batch=batch, **SIZES)
    if batch > 2:
        sizes[-1] = 60
        spoil(x, frames)
    results = []
    for count in (1, 2, 3, 8, 16):
        threads(count)
        results.append(loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, reduction="none", logits=logits), x))
    for result in results:
        for a, b in zip(result, results[0], strict=True):
            assert torch.equal(a.nan_to_num(-7), b.nan_to_num(-7))
    loss, grad = results[0]
    if batch > 2:
        assert loss[-2].isnan() and loss[-1].isinf() and not grad[:, -1].any()
        assert torch.isfinite(loss[:-2]).all() and torch.isfinite(grad[:, :-2]).all()


def test_gradient_with_another_number_of_threads_than_the_loss(threads):
    x, targets, frames, sizes = draw_batch(9, batch=1, **SIZES)
    grads = []
    for before, after in ((1, 1), (1, 4), (4, 1)):
        threads(before)
        y = x.clone().requires_grad_()
        loss = ctc_loss(y, targets, frames, sizes, logits=True)
        threads(after)
        loss.backward()
        grads.append(y.grad)
    assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])


def test_callers_in_several_threads(threads):
    x, targets, frames, sizes = draw_batch(10, batch=4, **SIZES)
    threads(2)

    def step():
        return loss_and_grad(lambda x: ctc_loss(x, targets, frames, sizes, logits=True), x)

    expected, wrong = step(), []

    def call():
        for _ in range(20):
            if not all(torch.equal(a, b) for a, b in zip(expected, step(), strict=True)):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_a_forked_child_has_its_own_threads():
    """Only our threads: a child has none of torch's threads, so all tensors are created before the fork."""
    x, targets, frames, sizes = draw_batch(11, batch=4, **SIZES)
    losses, _ = operators._outputs(x, targets, False)
    batch = operators.make_batch(operators._ctc, x, targets, frames, sizes, 0, False, True)
    batch.forward(losses.data_ptr(), 0, 0, 2)  # starts the parent's threads
    expected = losses.tolist()
    losses.zero_()

    def child():
        batch.forward(losses.data_ptr(), 0, 0, 2)
        sys.exit(losses.tolist() != expected)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weights(reduction):
    x, targets, frames, sizes = draw_batch(12)
    weights = torch.tensor([0.0, 1.0, 2.5, -1.0, 0.5], requires_grad=True)
    x.requires_grad_()
    losses = ctc_loss(x, targets, frames, sizes, reduction="none", logits=True)
    truth = losses * weights / (sizes.clamp(min=1) if reduction == "mean" else 1)
    truth = {"none": truth, "sum": truth.sum(), "mean": truth.mean()}[reduction]
    loss = ctc_loss(x, targets, frames, sizes, reduction=reduction, logits=True, weights=weights)
    torch.testing.assert_close(loss, truth)
    for a, b in zip(*(torch.autograd.grad(y.sum(), (x, weights)) for y in (loss, truth)), strict=True):
        torch.testing.assert_close(a, b)


def test_operators_obey_torch():
    x, targets, frames, sizes = draw_batch(10, frames=12, longest=4)
    forward = torch.ops.asr.ctc_loss.default
    torch.library.opcheck(forward, (x, targets, frames, sizes, 0, True, True, True))
    losses, state = forward(x, targets, frames, sizes, 0, True, True, True)
    backward = torch.ops.asr.ctc_loss_backward.default
    torch.library.opcheck(backward, (x, targets, frames, sizes, state, torch.ones_like(losses), 0, True))


def test_compiled_gives_the_same():
    """One compilation serves all shapes: twelve shapes pass with four compilations allowed."""
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x, *rest: ctc_loss(x, *rest, logits=True), backend="aot_eager", fullgraph=True, dynamic=True
    )
    with torch._dynamo.config.patch(recompile_limit=4):
        for k in range(12):
            x, *rest = draw_batch(k, frames=40 + 3 * k, batch=3 + k % 4, longest=6 + k)
            expected = loss_and_grad(lambda x, rest=rest: ctc_loss(x, *rest, logits=True), x)
            result = loss_and_grad(lambda x, rest=rest: compiled(x, *rest), x)
            assert all(torch.equal(a, b) for a, b in zip(expected, result, strict=True))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 3000), st.integers(0, 40), st.integers(1, 600), st.integers(0, 300), st.integers(1, 20))
def test_symbolic_state_size_equals_the_extensions(frames, batch, vocabulary, longest, threads):
    x = torch.empty(frames, batch, vocabulary, device="meta")
    size = operators._ctc.state_size(frames, batch, vocabulary, longest, threads)
    assert operators.symbolic_state_size(x, longest, threads) == size


def test_second_derivative_is_refused():
    x, targets, frames, sizes = draw_batch(12)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(ctc_loss(x, targets, frames, sizes), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


def test_autocast():
    x, targets, frames, sizes = draw_batch(13)
    net = torch.nn.Linear(9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(x)
        assert outputs.dtype == torch.bfloat16
        loss = ctc_loss(outputs, targets, frames, sizes, logits=True)
    truth = ctc_loss(outputs.float(), targets, frames, sizes, logits=True)
    assert loss.dtype == torch.float32 and torch.equal(loss, truth)
    loss.backward()
    assert torch.isfinite(net.weight.grad).all() and net.weight.grad.any()


def net_and_batch():
    torch.manual_seed(14)
    return torch.nn.Linear(9, 9), draw_batch(14, batch=4)


def train_one_of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    net, (x, targets, frames, sizes) = net_and_batch()
    mine = slice(2 * rank, 2 * rank + 2)
    parallel = DistributedDataParallel(net)
    ctc_loss(parallel(x[:, mine]), targets[mine], frames[mine], sizes[mine], logits=True).backward()
    torch.save(net.weight.grad, folder / f"grad{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_share_a_batch(tmp_path):
    torch.multiprocessing.spawn(train_one_of_two, (tmp_path,), nprocs=2)
    net, (x, targets, frames, sizes) = net_and_batch()
    ctc_loss(net(x), targets, frames, sizes, logits=True).backward()
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"grad{rank}.pt"), net.weight.grad)


class EmulatedBatch:
    """The interface of _ctc_cuda over the emulation of tests/test_ctc_kernels.py; arguments are addresses as well."""

    library: ctypes.CDLL

    def __init__(self, *arguments):
        x, frames, batch, vocabulary, stride_t, stride_n, *self.rest = arguments
        assert (stride_t, stride_n) == (batch * vocabulary, vocabulary)
        self.x, self.shape = x, (frames, batch, vocabulary)

    def _run(self, losses, upstream, grad):
        targets, longest, input_lengths, target_lengths, blank, zero_infinity, logits = self.rest
        failed = self.library.ctc_float(
            ctypes.c_void_p(self.x), *map(ctypes.c_int64, self.shape), ctypes.c_void_p(targets),
            ctypes.c_int64(longest), ctypes.c_void_p(input_lengths), ctypes.c_void_p(target_lengths),
            ctypes.c_int64(blank), zero_infinity, logits, 32, ctypes.c_int64(1 << 16), 7, -1,
            ctypes.c_void_p(losses), ctypes.c_void_p(upstream), ctypes.c_void_p(grad),
        )  # fmt: skip
        assert not failed

    def forward(self, losses, state, stream):
        upstream, grad = torch.zeros(self.shape[1]), torch.empty(self.shape)
        self._run(losses, upstream.data_ptr(), grad.data_ptr())

    def backward(self, state, posteriors, upstream, grad, stride_t, stride_n, stream):
        losses = torch.empty(self.shape[1])
        self._run(losses.data_ptr(), upstream, grad)


def test_cuda_operators_hand_over_the_right_addresses(emulation, monkeypatch):
    EmulatedBatch.library = emulation
    module = SimpleNamespace(FloatBatch=EmulatedBatch, state_size=lambda frames, longest: 1)
    monkeypatch.setattr(operators, "_ctc_cuda", module)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    x, targets, frames, sizes = draw_batch(15)
    arguments, upstream = (x, targets, frames, sizes), torch.rand(5)
    losses, state = operators._forward_cuda(*arguments, 0, True, True, True)
    grad = operators._backward_cuda(*arguments, state, upstream, 0, True)
    true_losses, state = operators.forward(*arguments, 0, True, True, True)
    torch.testing.assert_close(losses, true_losses)
    torch.testing.assert_close(grad, operators.backward(*arguments, state, upstream, 0, True), rtol=0, atol=1e-5)


def test_a_gpu_without_kernels_computes_on_the_cpu_and_says_so(monkeypatch, caplog):
    """A GPU older than the kernels: a driver without an image for it cannot launch them."""
    monkeypatch.setattr(operators, "_ctc_cuda", SimpleNamespace(has_kernels=lambda: False))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    operators._find_kernels.cache_clear()
    gpu = torch.device("cuda", 3)
    assert not operators.runs_on(gpu) and not operators.runs_on(gpu)
    assert [r.getMessage() for r in caplog.records] == [
        "the CTC kernels are not compiled for GPU 3 (Tesla V100, sm_70); the loss is computed on the CPU"
    ]
    operators._find_kernels.cache_clear()


COUNTING_MALLOC = """
#include <dlfcn.h>
#include <stddef.h>
static long calls;
static void *(*real)(size_t);
void *malloc(size_t size) {
  if (!real) real = (void *(*)(size_t))dlsym((void *)-1L, "malloc"); /* RTLD_NEXT */
  __sync_fetch_and_add(&calls, 1);
  return real(size);
}
long malloc_calls(void) { return calls; }
"""
CALLS = """
import ctypes, torch
from asr import _ctc
from asr.criteria import operators
count = ctypes.CDLL(None).malloc_calls
for batch, threads in ((8, 1), (8, 2), (1, 2)):
    x, targets = torch.randn(400, batch, 50), torch.randint(1, 50, (batch, 40))
    torch.set_num_threads(threads)
    sizes = torch.full((batch,), 400), torch.full((batch,), 40)
    losses, state = operators._outputs(x, targets, True)
    grad, paths, log_probs = torch.empty_like(x), targets.new_empty((batch, 400)), torch.empty(batch, 400)
    view = operators.make_batch(_ctc, x, targets, *sizes, 0, False, True)
    kept = state.data_ptr(), state.shape[1]
    for repeat in range(20):
        before = count()
        view.forward(losses.data_ptr(), *kept, threads)
        view.backward(*kept, losses.data_ptr(), grad.data_ptr(), *grad.stride()[:2], threads)
        view.align(paths.data_ptr(), log_probs.data_ptr(), threads)
        calls = count() - before
    assert calls == 0, (batch, threads, calls)
"""


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
def test_a_second_call_allocates_nothing(tmp_path):
    (tmp_path / "count.c").write_text(COUNTING_MALLOC)
    library = tmp_path / "count.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(tmp_path / "count.c"), "-o", str(library), "-ldl"], check=True)
    subprocess.run([sys.executable, "-c", CALLS], env={**os.environ, "LD_PRELOAD": str(library)}, check=True)
