"""CTC: log-softmax, loss and gradient with respect to the logits, against torch and optax (XLA), over a grid of shapes.

    python benchmarks/ctc.py            # prints tables, writes benchmarks/results/ctc.json; half an hour
    python benchmarks/ctc.py 500,8,32,25 1500,32,500,187     # only these T,N,V,L

All implementations run in turn in one process. There is one process per number of threads, pinned to as many cores. A
ratio is the median over pairs of runs. Memory is the rise of peak resident memory above input and output, in a fresh
process. Errors are measured on some utterances per shape against torch in float64, for random and for confident
log-probs (1 - 1e-7). On a machine with a GPU, torch's native and cuDNN losses are compared there as well.
"""

import ctypes
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from asr import ctc_loss
from asr.files import atomic_write

SHAPES = [
    (frames, batch, vocabulary, frames // share)
    for frames, batch, vocabulary, share in itertools.product((200, 500, 1500), (1, 8, 32), (32, 500, 5000), (20, 8))
]
SECONDS_A_SHAPE = 2
RESULTS = Path(__file__).parent / "results" / "ctc.json"
Shape = tuple[int, int, int, int]  # T frames, N utterances, V outputs, L labels


def draw(shape: Shape, confident: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (T, N, V), targets (N, L) and lengths."""
    frames, batch, vocabulary, labels = shape
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator)
    if confident:  # each label is nearly certain in one frame, the blank in the others
        x = torch.zeros(frames, batch, vocabulary)
        path = torch.zeros(batch, frames, dtype=torch.int64)
        path[:, torch.linspace(1, frames - 2, labels).long()] = targets
        x.scatter_(2, path.T[:, :, None], torch.tensor(vocabulary / 1e-7).log().expand(frames, batch, 1))
    else:
        x = 2 * torch.randn(frames, batch, vocabulary, generator=generator)
    return x, targets, torch.full((batch,), frames), torch.full((batch,), labels)


def our_loss(x: Tensor, targets: Tensor, *lengths: Tensor) -> Tensor:
    return ctc_loss(x, targets, *lengths, logits=True)


def torch_loss(x: Tensor, targets: Tensor, *lengths: Tensor) -> Tensor:
    return torch.nn.functional.ctc_loss(x.log_softmax(2), targets, *lengths)


def torch_step(loss: Callable, shape: Shape, device: str = "cpu") -> Callable[[], None]:
    x, *rest = (tensor.to(device) for tensor in draw(shape))
    x.requires_grad_()

    def step() -> None:
        x.grad = None
        loss(x, *rest).backward()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def optax_step(shape: Shape) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp
    import optax

    x, targets, _, _ = draw(shape)
    paddings = jnp.zeros((shape[1], shape[0])), jnp.zeros((shape[1], shape[3]))
    logits, labels = jnp.asarray(x.transpose(0, 1).numpy()), jnp.asarray(targets.numpy())
    mean = jax.jit(jax.value_and_grad(lambda x: jnp.mean(optax.ctc_loss(x, paddings[0], labels, paddings[1]))))
    return lambda: jax.block_until_ready(mean(logits))


def seconds(step: Callable[[], None]) -> float:
    """Seconds of a step, after a first run of it: the caches hold data of the other implementation before that run."""
    rest_s = time.perf_counter() + 0.005
    while time.perf_counter() < rest_s:  # the other implementation's threads spin for a while; a sleep would
        pass  # let the processor idle, too
    step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def time_shape(shape: Shape, steps: dict[str, Callable[[], None]]) -> dict:
    """Milliseconds of each implementation, ours first, and the ratios of the others to ours."""
    once = sum(seconds(step) for step in steps.values())
    repeats = max(3, min(101, int(SECONDS_A_SHAPE / (2 * once + 0.015))))
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(repeats)]
    row: dict = dict(zip("TNVL", shape, strict=True))
    for name in steps:
        row[f"{name}_ms"] = round(1e3 * statistics.median(r[name] for r in rounds), 3)
        if name != "ours":
            row[f"{name}/ours"] = round(statistics.median(r[name] / r["ours"] for r in rounds), 2)
    return row


def errors(shape: Shape, confident: bool) -> dict[str, float]:
    """The largest relative error of the loss and absolute error of the gradient, over the first two utterances."""
    x, targets, frames, sizes = draw((shape[0], min(shape[1], 2), *shape[2:]), confident)

    def run(loss: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
        x.requires_grad_()
        losses = loss(x)
        losses.sum().backward()
        return losses.detach().double(), x.grad

    ours, grad = run(lambda x: ctc_loss(x, targets, frames, sizes, reduction="none", logits=True), x.clone())
    truth, true_grad = run(
        lambda x: torch.nn.functional.ctc_loss(x.log_softmax(2), targets, frames, sizes, reduction="none"), x.double()
    )
    name = "confident_" if confident else ""
    return {
        f"{name}loss_error": float(((ours - truth) / truth).abs().max()),
        f"{name}grad_error": float((grad - true_grad).abs().max()),
    }


def peak_mb(loss: Callable, shape: Shape) -> float:
    """The rise of peak resident memory above the input during a step, including the gradient of x."""
    step = torch_step(loss, shape)
    torch_step(loss, (8, 1, 8, 2))()  # loads what is loaded once
    ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory is reused and not counted
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_mb("VmRSS")
    step()
    return resident_mb("VmHWM") - before


def resident_mb(key: str) -> float:
    """Resident memory of this process: VmRSS now, or VmHWM, the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def memory_row(shape: Shape) -> dict[str, float]:
    context = multiprocessing.get_context("fork")  # torch has started no threads yet
    gradient = 4e-6 * shape[0] * shape[1] * shape[2] / 1.048576
    row = {}
    for name, loss in (("ours", our_loss), ("torch", torch_loss)):
        with context.Pool(1) as pool:
            row[f"{name}_extra_mb"] = round(max(0.0, pool.apply(peak_mb, (loss, shape)) - gradient), 2)
    return row


def bandwidth_gb_s() -> float:
    """GB read and written per second by a copy that is larger than the caches."""
    source = torch.ones(64 << 20)
    target = torch.ones_like(source)
    best = min(seconds(lambda: target.copy_(source)) for _ in range(10))
    return 2 * source.nbytes / best / 1e9


def run_threads(threads: int, shapes: list[Shape]) -> dict:
    """Runs in its own process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    bandwidth, rows = bandwidth_gb_s(), []
    for shape in shapes:
        steps = {"ours": torch_step(our_loss, shape), "torch": torch_step(torch_loss, shape)}
        row = {"threads": threads, **time_shape(shape, {**steps, "optax": optax_step(shape)})}
        # Log-probs are read twice, the gradient is written once.
        row["bandwidth_share"] = round(12e-9 * shape[0] * shape[1] * shape[2] / (row["ours_ms"] / 1e3) / bandwidth, 3)
        rows.append(row)
        print(
            "{threads} {T:5} {N:3} {V:5} {L:4} {ours_ms:10.3f} {torch_ms:10.3f} {optax_ms:10.3f} {torch/ours:7.2f} "
            "{optax/ours:7.2f} {bandwidth_share:7.2f}".format(**row),
            flush=True,
        )
    return {"bandwidth_gb_s": round(bandwidth, 1), "rows": rows}


def run_gpu(shapes: list[Shape]) -> list[dict]:
    rows = []
    for shape in shapes:
        steps = {name: torch_step(loss, shape, "cuda") for name, loss in (("ours", our_loss), ("torch", torch_loss))}
        if shape[3] <= 255:  # cuDNN's limit; it needs targets on the host

            def cudnn_loss(x: Tensor, targets: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
                joined, lengths = targets.flatten().int().cpu(), (frames.int().cpu(), sizes.int().cpu())
                return torch.nn.functional.ctc_loss(x.log_softmax(2), joined, *lengths)

            steps["cudnn"] = torch_step(cudnn_loss, shape, "cuda")
        rows.append(time_shape(shape, steps))
        print("GPU", rows[-1], flush=True)
    return rows


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def summarize(rows: list[dict]) -> None:
    for threads in sorted({row["threads"] for row in rows}):
        mine = [row for row in rows if row["threads"] == threads]
        for peer in ("torch", "optax"):
            ratios = [row[f"{peer}/ours"] for row in mine]
            print(f"{threads} threads: {peer}/ours median {statistics.median(ratios):.2f}, least {min(ratios):.2f}")


def main(shapes: list[Shape]) -> None:
    torch.set_num_threads(1)
    checks = []
    memory = [memory_row(shape) for shape in shapes]  # first, while this process is small
    print(f"{'T':>5} {'N':>3} {'V':>5} {'L':>4}  extra MB ours, torch; loss error, gradient error; the same, confident")
    for shape, row in zip(shapes, memory, strict=True):
        row = {**dict(zip("TNVL", shape, strict=True)), **row}
        row |= errors(shape, confident=False) | errors(shape, confident=True)
        checks.append(row)
        print(
            "{T:5} {N:3} {V:5} {L:4} {ours_extra_mb:9.2f} {torch_extra_mb:9.2f} {loss_error:.1e} {grad_error:.1e} "
            "{confident_loss_error:.1e} {confident_grad_error:.1e}".format(**row),
            flush=True,
        )
    print(
        f"th {'T':>4} {'N':>3} {'V':>5} {'L':>4} {'ours ms':>10} {'torch ms':>10} {'optax ms':>10} torch/ optax/ share"
    )
    timings = []
    for threads in (1, 2):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            timings.append({"threads": threads, **pool.apply(run_threads, (threads, shapes))})
    gpu = run_gpu(shapes) if torch.cuda.is_available() else []
    machine = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    with atomic_write(RESULTS) as file:
        json.dump({"machine": machine, "checks": checks, "timings": timings, "gpu": gpu}, file, indent=1)
    summarize([row for timing in timings for row in timing["rows"]])
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main([tuple(map(int, shape.split(","))) for shape in sys.argv[1:]] or SHAPES)
