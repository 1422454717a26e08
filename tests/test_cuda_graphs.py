"""The net of a step in CUDA graphs (optim.cuda_graphs), recorded and repeated on the CPU (tests/graphed.py)."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import graphed
import pytest
import tones
import torch
from ctranslate2_model import write_model
from test_models import VARIANTS

from asr.config import Config, FeaturesConfig, ModelConfig, OptimConfig
from asr.errors import InputError
from asr.features.encoders import open_encoder
from asr.models.acoustic import AcousticModel
from asr.models.linear import LinearNet
from asr.models.low_rank import add_pairs
from asr.training import checkpoint, cuda_graphs, shards, trainer
from asr.training.cuda_graphs import CudaGraphs, check_cuda_graphs, padded, rounded
from asr.training.trainer import Trainer

COUNT = 17  # utterances; rounded up to 18
NETS = [options for options in VARIANTS if options["kind"] != "lstm"]


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed.on_the_cpu(monkeypatch)
    monkeypatch.setattr(trainer, "check_cuda_graphs", lambda cfg: None)  # which wants device=cuda


def made(filters: str = "none", **options: Any) -> AcousticModel:
    """A model in training that reads features (N, F, 7), or windows of 40 samples with filters."""
    torch.manual_seed(0)
    features = FeaturesConfig(kind="stored", num_bins=7, deltas=0, cmvn="none")
    if filters != "none":
        features = FeaturesConfig(kind="wave", window_ms=5.0, shift_ms=5.0, sample_rate_hz=8000, num_bins=4, deltas=0)
    sizes = {"hidden": 16, "layers": 3, "kernel": 4, "subsampling": 3, "dropout": 0.2, "filters": filters}
    return AcousticModel(features, ModelConfig(**sizes | options), 5).train()  # type: ignore[arg-type]


def batch(model: AcousticModel, frames: int, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, F, D) and lengths (N,), F the longest."""
    lengths = torch.cat([torch.tensor([frames]), torch.randint(1, frames + 1, (count - 1,))])
    return torch.randn(count, frames, model.frontend.dim), lengths


def step(outputs: cuda_graphs.Outputs, model: AcousticModel, seed: int, *given: torch.Tensor) -> list[torch.Tensor]:
    """The log-probs of the first utterances, the number of their frames, and the gradient of a sum of them."""
    torch.manual_seed(seed)
    found, frames = outputs(*given)
    valid = [row[:n] for output in found for row, n in zip(output, frames[:COUNT].tolist(), strict=False)]
    loss = sum((torch.linspace(0, 1, x.numel()) * x.flatten()).sum() for x in valid)
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], materialize_grads=True)
    return [x.detach().clone() for x in (*valid, frames[:COUNT], *gradients)]


def check_on_one_device(model: AcousticModel) -> None:
    """On a device without values, where none can be read and none copied to it."""
    there = copy.deepcopy(model).to("meta")
    outputs, frames = there.outputs(*(x.to("meta") for x in batch(model, 16)))
    parameters = [p for p in there.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(outputs, parameters, [*map(torch.zeros_like, outputs)], materialize_grads=True)
    assert all(x.is_meta for x in (*outputs, frames, *gradients))


def check_repeated(model: AcousticModel) -> None:
    """Shapes in turn, each recorded when it comes again, are computed as without graphs."""
    check_on_one_device(model)
    graphs = CudaGraphs(model.outputs, [p for p in model.parameters() if p.requires_grad])
    given = batch(model, 21)
    torch.testing.assert_close(step(graphs, model.eval(), 0, *given), step(model.outputs, model, 0, *given))
    model.train()  # with dropout, whose draws depend on the shape
    for seed, frames in enumerate((13, 30, 14, 27, 16)):
        given = batch(model, frames)
        expected = step(model.outputs, model, seed, *padded(*given))
        torch.testing.assert_close(step(graphs, model, seed, *given), expected)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.99)
    assert [(shape, one.forward.replays) for shape, one in graphs.recorded.items()] == [
        ((18, 16, model.frontend.dim), 2), ((18, 32, model.frontend.dim), 1)
    ]  # fmt: skip


@pytest.mark.parametrize("options", NETS, ids=lambda o: " ".join(map(str, o.values())))
def test_a_net_is_repeated_with_other_inputs_and_parameters(options: dict[str, Any]) -> None:
    """Its forward and backward pass never wait for the host, and dropout draws the same."""
    check_repeated(made(**options))


@pytest.mark.parametrize("filters", ["learned", "sinc"])
def test_filters_are_repeated(filters: str) -> None:
    check_repeated(made(filters, kind="fc"))


@pytest.mark.parametrize(("kind", "rank"), [("whisper", None), ("whisper", 2), ("wav2vec2", None), ("hubert", 2)])
def test_layers_of_an_encoder_are_repeated(kind: str, rank: int | None, tmp_path: Path) -> None:
    model = made(kind="linear")
    encoder = open_encoder(str(write_model(tmp_path) if kind == "whisper" else write_transformer(tmp_path, kind)))
    model.upper = encoder.upper(0, 2)
    if rank is not None:
        add_pairs(model.upper, rank)
    model.net = LinearNet(ModelConfig(subsampling=1), encoder.dim, 5)
    model.frontend.dim = encoder.dim
    check_repeated(model.train())


def write_transformer(folder: Path, kind: str) -> Path:
    """A small model of the `transformers` library; returns its folder."""
    transformers = pytest.importorskip("transformers")
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24,
             "conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}  # fmt: skip
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def config(folder: Path, out: str, is_recorded: bool = True, precision: str = "fp32", **model: Any) -> Config:
    cfg = tones.config(folder, out)
    cfg.model = ModelConfig(**{"kind": "cnn", "hidden": 16, "layers": 1, "subsampling": 2, "dropout": 0.0} | model)
    cfg.augment.silence_s, cfg.augment.time_masks, cfg.augment.time_width_s = 0.2, 1, 0.1
    cfg.optim.batch_s, cfg.optim.epochs, cfg.optim.checkpoint_steps, cfg.optim.ema = 2.0, 2, 5, 0.5
    cfg.optim.cuda_graphs, cfg.optim.precision = is_recorded, precision
    return cfg


def trained(cfg: Config) -> tuple[list[float], dict[str, torch.Tensor], int]:
    """The losses of the epochs, the final net, and how often graphs were repeated."""
    made = Trainer(cfg)
    final = made.run()
    graphs = made.shards.outputs.recorded.values() if cfg.optim.cuda_graphs else ()  # type: ignore[attr-defined]
    losses = [r[name] for r in made.state["records"] for name in ("train_loss", "dev_loss")]
    return losses, checkpoint.read_tensors(final), sum(graph.forward.replays for graph in graphs)


def check_same(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-4, atol=1e-5)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tones.corpus(tmp_path, 16, 4)


def test_a_training_has_the_losses_of_one_without_graphs(corpus: Path) -> None:
    """With two views of each utterance, outputs of two layers and priors, which read them after the backward pass."""
    found = []
    for is_recorded in (False, True):
        cfg = config(corpus, str(is_recorded), is_recorded, kind="conformer", layers=2, kernel=3, intermediate=[1])
        cfg.criterion.consistency, cfg.criterion.smoothing, cfg.criterion.prior_scale = 0.2, 0.05, 0.3
        found.append(trained(cfg))
    check_same(*found)
    assert found[1][2] >= 8


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_dropout_draws_the_same_whether_a_step_is_repeated_or_not(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Gradients of float16 overflow, so that the backward pass is repeated."""
    monkeypatch.setattr(shards, "LOSS_SCALES", (2.0**40, 2.0**4, 1.0))
    found = []
    for most in (0, 2):
        monkeypatch.setattr(cuda_graphs, "MOST", most)
        found.append(trained(config(corpus, f"{most}", precision=precision, dropout=0.2)))
    check_same(*found)
    assert found[1][2] >= 4 and not found[0][2]


@pytest.mark.parametrize("is_recorded", [False, True])
def test_weights_in_half_precision_are_not_kept_for_steps_that_do_not_make_them(is_recorded: bool) -> None:
    with shards.reduced(Config(optim=OptimConfig(precision="bf16", cuda_graphs=is_recorded))):
        assert torch.is_autocast_cache_enabled() != is_recorded


def test_a_training_that_was_stopped_goes_on_with_or_without_graphs(corpus: Path) -> None:
    whole = trained(config(corpus, "whole"))
    for is_recorded in (True, False):
        stopped = Trainer(config(corpus, str(is_recorded)))
        stopped.optimizer.register_step_pre_hook(partial(stop_after, stopped, 8))
        with pytest.raises(KeyboardInterrupt):
            stopped.run()
        check_same(trained(config(corpus, str(is_recorded), is_recorded)), whole)


def stop_after(stopped: Trainer, step: int, *_: object) -> None:
    if stopped.state["step"] > step:
        raise KeyboardInterrupt


def test_sizes_are_rounded_up_by_less_than_an_eighth() -> None:
    found = [rounded(size, 1) for size in range(1, 2000)]
    assert all(size <= more < size * 9 / 8 for size, more in enumerate(found, 1))
    assert len(set(found)) == 15 + 8 * 7 + 1 and all(rounded(more, 1) == more for more in found)
    assert [rounded(size, 8) for size in (1, 8, 9, 120, 121, 129, 1025)] == [8, 8, 16, 120, 128, 144, 1152]


def test_there_are_not_more_graphs_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    model = made(kind="fc")
    graphs = CudaGraphs(model.outputs, list(model.parameters()))
    for frames in (8, 16, 16, 8, 8, 16):
        step(graphs, model, 0, *batch(model, frames))
    assert [(shape[1], one.forward.replays) for shape, one in graphs.recorded.items()] == [(16, 2)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("device", "cpu", "is for NVIDIA GPUs, but device=cpu; set device=cuda, or leave optim.cuda_graphs out"),
     ("model.kind", "lstm", "has not been tried with the LSTMs of cuDNN; choose another net than model=lstm, or leave"),
     ("model.layer_drop", 0.1, "the same operations in each step, but model.layer_drop changes them; leave out one"),
     ("model.dynamic_chunk", True, "but model.dynamic_chunk changes them; leave out one of them"),
     ("optim.sharded", True, "but optim.sharded changes them; leave out one of them")],
)  # fmt: skip
def test_what_cannot_be_recorded_is_refused(name: str, value: object, message: str) -> None:
    cfg = Config(device="cuda", model=ModelConfig(kind="conformer"), optim=OptimConfig(cuda_graphs=True))
    check_cuda_graphs(cfg)
    group, _, key = name.rpartition(".")
    setattr(getattr(cfg, group) if group else cfg, key, value)
    with pytest.raises(InputError, match=f"optim.cuda_graphs .*{message}"):
        check_cuda_graphs(cfg)
    cfg.optim.cuda_graphs = False
    check_cuda_graphs(cfg)


def test_a_training_on_a_cpu_is_refused(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "check_cuda_graphs", check_cuda_graphs)
    with pytest.raises(InputError, match="optim.cuda_graphs is for NVIDIA GPUs, but device=cpu"):
        Trainer(config(corpus, "run"))


@pytest.mark.parametrize("options", [{"layer_drop": 0.5}, {"dynamic_chunk": True}])
def test_what_is_refused_would_fail(options: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="the host waits for the device: _local_scalar_dense"):
        check_repeated(made(kind="conformer", **options))


def test_the_emulation_punishes_what_a_gpu_would(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(kind="cnn", dropout=0.0)
    parameters, given = list(model.parameters()), batch(model, 8)

    def twice() -> CudaGraphs:
        graphs = CudaGraphs(model.outputs, parameters)
        for frames in (8, 8, 16, 16):
            graphs(*batch(model, frames))
        return graphs

    graphs = twice()
    expected = step(graphs, model, 0, *given)
    bias = model.net.output.linear.bias
    bias.data = bias + 1  # elsewhere
    torch.testing.assert_close(step(graphs, model, 0, *given), expected)
    bias.data -= 1
    first, second = graphs.recorded.values()
    made_by_second = second.forward.fresh[-1]
    second.forward.replay()
    assert not made_by_second.isnan().any()
    first.forward.replay()
    assert made_by_second.isnan().all()
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **given: grad(*args, **given | {"retain_graph": False}))
    found = twice()(*given)[0][-1].sum()
    for is_lost in (False, True):
        gradients = grad(found, parameters, retain_graph=True)
        assert any(gradient.isnan().any() for gradient in gradients) == is_lost
