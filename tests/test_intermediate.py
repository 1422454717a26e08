"""Hidden layers that are trained by the criterion, against shorter nets and slow sums; what a start keeps of them."""

from pathlib import Path
from typing import Any

import pytest
import tones
import torch
from torch import Tensor

from asr import pipeline
from asr.config import Config, ModelConfig
from asr.criteria.ctc import ctc_loss_reference
from asr.criteria.smoothing import smoothing_loss
from asr.data.dataset import Batch
from asr.errors import InputError
from asr.hmm.model import Hmm
from asr.models import build_model
from asr.models.streaming import Net
from asr.training.trainer import Trainer, load_model

KINDS: list[dict[str, Any]] = [
    {"kind": "lstm"},
    {"kind": "lstm", "bidirectional": False},
    {"kind": "conformer"},
    {"kind": "conformer", "chunk": 3, "left": 2},
]
each_net = pytest.mark.parametrize("options", KINDS, ids=lambda o: " ".join(map(str, o.values())))
FEATURES, LENGTHS = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 11])


def small_net(**options: Any) -> Net:
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"hidden": 16, "layers": 3, "kernel": 4, **options}), 7, 5).eval()


@each_net
def test_intermediate_outputs_are_those_of_shorter_nets(options: dict[str, Any]) -> None:
    net = small_net(**options, intermediate=[1, 2])
    outputs, frames = net.outputs(FEATURES, LENGTHS)
    assert len(outputs) == 3 and frames.tolist() == [7, 4]
    for layers, found in enumerate(outputs, 1):
        shorter = small_net(**options, layers=layers)
        shorter.load_state_dict({name: net.state_dict()[name] for name in shorter.state_dict()})
        torch.testing.assert_close(found, shorter(FEATURES, LENGTHS)[0])
    torch.testing.assert_close(small_net(**options)(FEATURES, LENGTHS)[0], outputs[-1])  # equal weights


@each_net
def test_the_next_layer_reads_the_posteriors(options: dict[str, Any]) -> None:
    if options.get("chunk"):
        with pytest.raises(InputError, match="self_conditioned is for conformers that read whole utterances"):
            small_net(**options, intermediate=[1], self_conditioned=True)
        return
    net: Any = small_net(**options, layers=2, intermediate=[1], self_conditioned=True)
    plain: Any = small_net(**options, layers=2)
    plain.load_state_dict({name: net.state_dict()[name] for name in plain.state_dict()})
    layers = plain.blocks.blocks if options["kind"] == "conformer" else plain.layers
    linear = net.intermediate.conditioning

    def condition(layer: torch.nn.Module, inputs: object, output: Any) -> Any:
        x = output[0] if isinstance(output, tuple) else output
        posteriors = plain.output(x if options["kind"] == "conformer" else plain.norm(x)).exp()
        x = x + posteriors @ linear.weight.T + linear.bias
        return (x, output[1]) if isinstance(output, tuple) else x

    layers[0].register_forward_hook(condition)
    torch.testing.assert_close(net(FEATURES, LENGTHS)[0], plain(FEATURES, LENGTHS)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"intermediate": [3]},
            r"intermediate=3: expected hidden layers .*below the last one \(model.layers=3\)",
        ),
        ({"intermediate": [2, 1]}, "in their order"),
        ({"intermediate": [1, 1]}, "in their order"),
        ({"intermediate": [0]}, r"model.intermediate=\[0\]: expected a whole number in"),
        ({"self_conditioned": True}, "needs model.intermediate=LAYERS"),
    ],
)
def test_layers_that_there_are_not_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_net(**options)


def test_nets_and_criteria_without_such_layers_are_refused(tmp_path: Path) -> None:
    cfg = tones.config(tmp_path, "run")
    cfg.model.intermediate = [1]
    with pytest.raises(InputError, match="model.intermediate=.*the net fc has no such option; .*: lstm, conformer"):
        Trainer(cfg)
    cfg = tones.config(tmp_path, "run")
    cfg.model = ModelConfig(kind="lstm", intermediate=[1], self_conditioned=True, subsampling=1)
    (tmp_path / "alignments.npz").touch()
    Hmm.monophone(["a"], None).tokens.write(tmp_path / "tokens.txt")
    cfg.criterion.kind, cfg.criterion.alignments = "ce", str(tmp_path / "alignments.npz")
    with pytest.raises(InputError, match="self_conditioned reads posteriors, but criterion=ce"):
        Trainer(cfg)


def test_equal_posteriors_are_smooth() -> None:
    log_probs = torch.randn(2, 4, 5, dtype=torch.float64).log_softmax(2)
    total = 0.0
    for n, frames in enumerate((4, 2)):
        for f in range(frames):
            total += sum((0.2 * (torch.tensor(0.2).log() - log_probs[n, f, v])).item() for v in range(5))
    assert smoothing_loss(log_probs, torch.tensor([4, 2])).item() == pytest.approx(total, rel=1e-6)
    assert smoothing_loss(torch.zeros(1, 3, 8).log_softmax(2), torch.tensor([3])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("consistency", [0.0, 0.7])
def test_the_parts_of_the_loss(tmp_path: Path, consistency: float) -> None:
    """In float64, against sums over utterances and views."""
    tones.write(tmp_path, "train", 4)
    tones.write(tmp_path, "dev", 2)
    cfg = tones.config(tmp_path, "run")
    cfg.model = ModelConfig(kind="lstm", hidden=4, layers=3, subsampling=1, intermediate=[1, 2])
    cfg.criterion.intermediate_weight, cfg.criterion.smoothing = 0.4, 0.1
    cfg.criterion.consistency, cfg.augment.bin_warp = consistency, 0.1
    trainer = Trainer(cfg)
    views = 2 if consistency else 1
    outputs = [torch.randn(2 * views, 6, 4, dtype=torch.float64).log_softmax(2) for _ in range(3)]
    targets = [[1, 2], [3]]
    batch = Batch(
        torch.empty(0), torch.empty(0), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]), ["a", "b"], ["", ""], []
    )
    frames = torch.tensor([6, 4] * views)
    found = trainer.shards.loss(outputs, frames, batch, consistency)

    def ctc(x: Tensor) -> Tensor:
        return torch.stack([ctc_loss_reference(x[k, : frames[k]], targets[k % 2]) for k in range(2 * views)]).sum()

    *inner, last = (ctc(x) for x in outputs)
    expected = 0.9 * (0.6 * last + 0.4 * (inner[0] + inner[1]) / 2) + 0.1 * smoothing_loss(outputs[2], frames)
    if consistency:
        a, b = outputs[2].chunk(2)
        valid = torch.arange(6) < frames[:2, None]
        divergences = (b.exp() * (b - a) + a.exp() * (a - b)).sum(2)[valid]
        expected = expected / 2 + consistency * divergences.sum() / 2
    torch.testing.assert_close(found, expected)


def conditioned(corpus: Path, out: str) -> Config:
    cfg = tones.config(corpus, out)
    cfg.model = ModelConfig(kind="lstm", hidden=8, layers=2, subsampling=1, intermediate=[1], self_conditioned=True)
    cfg.optim.epochs = 1
    return cfg


def test_a_start_with_other_tokens_keeps_their_conditioning(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tones.write(tmp_path, "train", 8)
    tones.write(tmp_path, "dev", 2)
    pipeline.train(conditioned(tmp_path, "first"))
    second = conditioned(tmp_path, "second")
    (tmp_path / "tokens.txt").write_text("<blk>\nx\nc\na\nb\n")
    second.init, second.tokens.table, second.optim.lr = str(tmp_path / "first"), str(tmp_path / "tokens.txt"), 0.0
    pipeline.train(second)
    columns = []
    for cfg in (conditioned(tmp_path, "first"), second):
        model, tokens = load_model(cfg)
        weight = model.state_dict()["net.intermediate.conditioning.weight"]  # (H, V)
        columns.append({symbol: weight[:, k] for k, symbol in enumerate(tokens.symbols)})
    assert all(torch.equal(columns[1][symbol], columns[0][symbol]) for symbol in columns[0])
    other = conditioned(tmp_path, "third")
    other.init, other.model.self_conditioned = str(tmp_path / "first"), False
    with pytest.raises(InputError, match="model.self_conditioned=True, but this training model.self_conditioned=False"):
        pipeline.train(other)


def test_layers_that_only_the_criterion_reads_may_change(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tones.write(tmp_path, "train", 4)
    tones.write(tmp_path, "dev", 2)
    first = conditioned(tmp_path, "first")
    first.model.intermediate, first.model.self_conditioned = [], False
    pipeline.train(first)
    second = conditioned(tmp_path, "second")
    second.init, second.model.self_conditioned = str(tmp_path / "first"), False
    pipeline.train(second)
