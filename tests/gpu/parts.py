"""Parts of `make gpu-test`: each prints what it measured and exits with 1 if it fails."""

import sys
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

from asr import ctc_loss
from asr.criteria.lfmmi import TokenModel, ctc_crf_loss
from asr.training.token_lm import estimate

DEVICE = "cuda"


def draw(frames: int, batch: int, vocabulary: int, labels: int, device: str = DEVICE) -> tuple[Tensor, ...]:
    """Logits (T, N, V), targets (N, L) and lengths."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(frames, batch, vocabulary, generator=generator)
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator)
    tensors = x, targets, torch.full((batch,), frames), torch.full((batch,), labels)
    return tuple(tensor.to(device) for tensor in tensors)


def token_model(vocabulary: int, order: int) -> TokenModel:
    """Of 2,000 random sequences in which some tokens are more frequent than others."""
    tokens = torch.rand((2000, 25), generator=torch.Generator().manual_seed(2)) ** 2 * (vocabulary - 1)
    return estimate((1 + tokens.long()).tolist(), vocabulary, order)


def step(loss: Callable, x: Tensor, *rest) -> tuple[Tensor, Tensor]:
    """The losses (N,) and their gradient."""
    x = x.detach().requires_grad_()
    losses = loss(x, *rest)
    return losses.detach(), torch.autograd.grad(losses.sum(), x)[0]


def ours(x: Tensor, *rest: Tensor) -> Tensor:
    return ctc_loss(x, *rest, reduction="none", logits=True)


def native(x: Tensor, *rest: Tensor) -> Tensor:
    return torch.nn.functional.ctc_loss(x.log_softmax(2), *rest, reduction="none")


def check_equal(found: tuple[Tensor, Tensor], arguments: tuple[Tensor, ...]) -> None:
    """Compares a loss and gradient with PyTorch's in float64 on the CPU."""
    x, *rest = (tensor.cpu() for tensor in arguments)
    for a, b in zip(found, step(native, x.double(), *rest), strict=True):
        torch.testing.assert_close(a.cpu().double(), b, rtol=1e-4, atol=1e-4)


def large_batch() -> None:
    """More utterances than a grid has blocks along y."""
    arguments = draw(4, 70_000, 5, 2)
    check_equal(step(ours, *arguments), arguments)
    print("N = 70,000: equal to PyTorch in float64")


def streams() -> None:
    """Two threads with a stream each, and with targets of other lengths, so that both set the shared memory."""
    cases = [draw(60, 3, 20, 10), draw(1200, 3, 20, 550)]
    alone = [step(ours, *case) for case in cases]
    torch.cuda.synchronize()
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(100):
                    for a, b in zip(step(ours, *cases[number]), alone[number], strict=True):
                        torch.cuda.current_stream().synchronize()
                        if not torch.equal(a, b):
                            wrong.append(f"stream {number} has other bits")
        except Exception as e:
            wrong.append(f"stream {number}: {e!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        sys.exit(wrong[0])
    print("two streams, 200 steps: the same bits as alone")


def graph_capture() -> None:
    """Loss and gradient in a CUDA graph, replayed on other inputs."""
    arguments = draw(200, 8, 40, 30)
    still = tuple(tensor.clone() for tensor in arguments)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(ours, *still)  # warm-up
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step(ours, *still)
    for seed in (2, 3):
        still[0].copy_(torch.randn(still[0].shape, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
        torch.cuda.synchronize()
        check_equal(found, still)
    print("CUDA graph: two replays equal PyTorch in float64")


def training() -> None:
    """A net learns two words from noise on the GPU: the loss falls to a tenth."""
    from tiny import TOKENS, config, noise

    from asr.models.acoustic import AcousticModel

    torch.manual_seed(1)
    net = AcousticModel(config().features, config().model, len(TOKENS)).to(DEVICE).train()
    x = torch.stack([torch.from_numpy(noise(1.0, seed)) for seed in (1, 2)]).to(DEVICE)
    lengths = torch.full((2,), x.shape[1], device=DEVICE)
    targets, sizes = torch.tensor([[2, 1, 3], [3, 3, 2]], device=DEVICE), torch.tensor([3, 3], device=DEVICE)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        log_probs, frames = net(x, lengths)
        loss = ctc_loss(log_probs.transpose(0, 1), targets, frames, sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    print(f"training: loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps")
    if not losses[-1] < losses[0] / 10:
        sys.exit("the loss did not fall to a tenth")


def sanitized() -> None:
    """Few small steps, for compute-sanitizer."""
    for arguments in (draw(12, 3, 9, 4), draw(150, 1, 5, 70), draw(3, 2, 40, 0)):
        check_equal(step(ours, *arguments), arguments)
    x, *rest = draw(12, 3, 9, 4)
    step(ctc_crf_loss, x, *rest, token_model(9, 2))
    print("kernels ran")


SHAPES = [(500, 8, 32, 62), (500, 32, 500, 62), (500, 32, 5000, 62), (1500, 16, 5000, 187), (1500, 32, 200, 187)]


def benchmark() -> None:
    """Loss and gradient of logits: milliseconds, and the share of the copy bandwidth at 12 V bytes per frame."""
    peak = copy_gb_s()
    print(f"copy bandwidth {peak:.0f} GB/s (read and written together)")
    print("| T | N | V | L | ours ms | torch / | cuDNN / | GB/s | share |\n|---|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        arguments = draw(*shape)
        mine, theirs = (milliseconds(loss, arguments) for loss in (ours, native))
        by_cudnn = f"{milliseconds(cudnn, arguments) / mine:.1f}" if shape[3] <= 256 else "-"
        rate = 12 * shape[0] * shape[1] * shape[2] / mine / 1e6
        sizes = " | ".join(map(str, shape))
        print(f"| {sizes} | {mine:.3f} | {theirs / mine:.1f} | {by_cudnn} | {rate:.0f} | {rate / peak:.2f} |")


LFMMI_SHAPES = [(200, 32, 40, 2), (500, 32, 40, 2), (500, 32, 40, 3), (200, 8, 200, 2)]


def lfmmi() -> None:
    """Loss and gradient of CTC-CRF beside CTC on the same outputs: milliseconds, and those of all CPU cores."""
    print("| T | N | V | order | arcs | LF-MMI ms | CTC ms | LF-MMI on the CPU ms |\n|---|---|---|---|---|---|---|---|")
    for frames, batch, vocabulary, order in LFMMI_SHAPES:
        x, *rest = draw(frames, batch, vocabulary, 25)
        model = token_model(vocabulary, order)
        times = [milliseconds(ctc_crf_loss, (x, *rest, model)), milliseconds(ours, (x, *rest))]
        host = [x.cpu(), *(tensor.cpu() for tensor in rest), model]
        step(ctc_crf_loss, *host)
        start = time.perf_counter()
        step(ctc_crf_loss, *host)
        times.append((time.perf_counter() - start) * 1000)
        shown = " | ".join(f"{ms:.2f}" for ms in times)
        print(f"| {frames} | {batch} | {vocabulary} | {order} | {len(model.ctc.label)} | {shown} |")


def cudnn(x: Tensor, targets: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
    """PyTorch takes cuDNN's loss for concatenated int32 targets and lengths on the host."""
    lengths = (frames.cpu().int(), sizes.cpu().int())
    with torch.backends.cudnn.flags(deterministic=True):
        return torch.nn.functional.ctc_loss(x.log_softmax(2), targets.flatten().cpu().int(), *lengths, reduction="none")


def milliseconds(loss: Callable, arguments: tuple) -> float:
    """The median of 20 steps, by CUDA events."""
    times = []
    for repeat in range(23):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step(loss, *arguments)
        end.record()
        torch.cuda.synchronize()
        if repeat >= 3:
            times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def copy_gb_s() -> float:
    source = torch.empty(1 << 28, device=DEVICE)  # 1 GiB
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(6):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start) / 1e9)
    return best


PARTS = {f.__name__: f for f in (large_batch, streams, graph_capture, training, sanitized, benchmark, lfmmi)}

if __name__ == "__main__":
    PARTS[sys.argv[1]]()
