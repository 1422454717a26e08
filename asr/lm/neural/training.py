"""Training of a neural language model: Adam, a cosine learning rate, early stop on a dev text, resumed after a kill.

Every update is a function of the text, the options, the seed and its number, so a training that was killed and started
again ends with the same bits.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr.config import LmConfig
from asr.errors import InputError
from asr.files import keep_inputs
from asr.lm.corpus import Selection
from asr.lm.model import Vocabulary
from asr.lm.neural.file import NeuralModel, read_tensors, write, write_tensors
from asr.lm.neural.net import Net, Shape
from asr.lm.neural.texts import Batch, Corpus, batches, encode, read_corpus
from asr.lm.texts import sentences
from asr.lm.training import read_words
from asr.locks import locked

WARMUP, LEAST_RATE = 0.05, 0.02  # shares of the updates and of the highest learning rate
CLIP = 1.0  # largest norm of the gradient
LOOKS, PATIENCE = 20, 4  # at the dev text, in all; and in a row without gain, after which the training stops
KEPT_OUT, MOST_KEPT_OUT = 0.01, 2000  # without a dev text: the share of the sentences that are one, and the most
SAVE_EVERY_S = 60.0
Look = dict[str, float]  # update, training and dev perplexity


@dataclass(frozen=True)
class Report:
    """The report of `train_file`."""

    path: str
    sentences: int
    words: int
    vocabulary: int
    unknown: int  # different words of the text outside the vocabulary
    parameters: int
    looks: list[Look]
    dev: str  # what the dev text is
    duration_s: float

    def __str__(self) -> str:
        best = min(self.looks, key=lambda look: look["dev"])
        rows = [f"{look['update']:8.0f} {look['train']:9.2f} {look['dev']:9.2f}" for look in self.looks]
        return "\n".join([
            f"text        {self.sentences:,} sentences, {self.words:,} words",
            f"vocabulary  {self.vocabulary:,} words; {self.unknown:,} others of the text are <unk>",
            f"net         {self.parameters:,} parameters",
            f"{'update':>8} {'train':>9} {'dev':>9}  perplexity per word, with </s> and <unk>", *rows,
            f"best        {best['dev']:.2f} at update {best['update']:.0f}, on {self.dev}",
            f"-> {self.path} ({self.duration_s:.1f} s)",
        ])  # fmt: skip


@dataclass
class Progress:
    """What a training remembers beside its net and its optimiser."""

    update: int = 0
    looks: list[Look] = field(default_factory=list)
    nats: float = 0.0  # of the training text since the last look
    words: int = 0

    def is_over(self, updates: int) -> bool:
        dev = [look["dev"] for look in self.looks]
        return self.update == updates or len(dev) - 1 - dev.index(min(dev)) >= PATIENCE if dev else False


def train_file(cfg: LmConfig, dev: Sequence[str] = (), seed: int = 1) -> Report:
    """Trains a model on the files `cfg.text` (plain or compressed, or manifests), and writes `cfg.net`.

    `dev`: files on which the best state is chosen; without one, some sentences are kept out for that. Until
    the end, the state is in `cfg.net`.resume, from which the same command goes on. Raises InputError for a text that
    `asr.lm.corpus.encode_files` refuses.
    """
    if not cfg.text or "-" in cfg.text:
        raise InputError("lm.text must name files with one sentence per line; a neural model reads them twice")
    begin_s = time.monotonic()
    path = Path(cfg.net)
    keep_inputs([path], [*cfg.text, cfg.vocabulary, *dev])
    with locked(path.parent, path.name):
        selection = Selection(read_words(cfg), cfg.min_count, cfg.vocabulary_size, cfg.coverage)
        corpus, vocabulary, unknown = read_corpus(cfg.text, selection, cfg.memory_mb, str(path.parent), cfg.unit)
        train, held = _with_dev(corpus, vocabulary, dev)
        shape = Shape(len(vocabulary.words), cfg.hidden, cfg.layers)
        training = _Training(Net(shape, cfg.dropout), cfg, seed, train.in_parts(), held.in_parts())
        training.run(path.with_name(path.name + ".resume"))
        write(path, NeuralModel(training.net, shape, vocabulary, unknown))
        path.with_name(path.name + ".resume").unlink(missing_ok=True)
    return Report(
        str(path), len(train), len(train.ids) - len(train), len(vocabulary.words) - 2, unknown,
        sum(p.numel() for p in training.net.parameters()), training.progress.looks,
        ", ".join(map(str, dev)) or f"{len(held):,} sentences of the text, which are kept out",
        time.monotonic() - begin_s,
    )  # fmt: skip


def _with_dev(corpus: Corpus, vocabulary: Vocabulary, dev: Sequence[str]) -> tuple[Corpus, Corpus]:
    """The sentences to train on, and those to look at."""
    if dev:
        held = encode(vocabulary, sentences(dev))
        if not len(held):
            raise InputError(f"{', '.join(dev)}: no sentence; dev=FILE needs text that is not in the training texts")
        return corpus, held
    number = min(round(KEPT_OUT * len(corpus)), MOST_KEPT_OUT)
    if not number:
        raise InputError(f"the text has {len(corpus)} sentences, too few to keep some out; name a dev text: dev=FILE")
    kept_out = np.arange(number) * (len(corpus) // number)
    return corpus.take(np.setdiff1d(np.arange(len(corpus)), kept_out)), corpus.take(kept_out)


class _Training:
    def __init__(self, net: Net, cfg: LmConfig, seed: int, train: Corpus, held: Corpus):
        self.cfg, self.seed, self.train, self.held = cfg, seed, train, held
        self.net = _initialised(net, seed)
        self.best = _copy(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), cfg.lr, betas=(0.9, 0.99), fused=True)
        self.progress = Progress()
        self.purpose = _purpose(cfg, seed, train, held)

    def run(self, resume: Path) -> None:
        """Trains to the end, from the resume point if there is one; `net` is then the best one."""
        self._restore(resume)
        cfg, progress = self.cfg, self.progress
        look_every = max(1, cfg.updates // LOOKS)
        saved_s = time.monotonic()
        with tqdm(total=cfg.updates, initial=progress.update, unit="batch", desc="lm train") as bar:
            for batch in batches(self.train, cfg.batch, self.seed, progress.update):
                if progress.is_over(cfg.updates):
                    break
                self._step(batch)
                bar.update()
                if progress.update % look_every == 0 or progress.update == cfg.updates:
                    self._look()
                    bar.set_postfix(dev=f"{progress.looks[-1]['dev']:.1f}")
                if time.monotonic() - saved_s > SAVE_EVERY_S:
                    self._save(resume)
                    saved_s = time.monotonic()
        self.net.load_state_dict(self.best)
        self.net.eval()

    def _step(self, batch: Batch) -> None:
        progress = self.progress
        torch.manual_seed(self.seed * 1_000_003 + progress.update)  # of dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.cfg.lr * _rate(progress.update / self.cfg.updates)
        self.net.train()
        nats, words = _nats(self.net, batch)
        self.optimizer.zero_grad()
        (nats / words).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        progress.nats, progress.words = progress.nats + nats.item(), progress.words + words
        progress.update += 1

    def _look(self) -> None:
        progress = self.progress
        found = {"update": float(progress.update), "train": math.exp(min(progress.nats / progress.words, 700.0)),
                 "dev": perplexity(self.net, self.held, self.cfg.batch)}  # fmt: skip
        if not math.isfinite(found["dev"]):
            raise InputError(f"the perplexity of the dev text is {found['dev']} at update {progress.update}; lower "
                             f"lm.lr={self.cfg.lr:g}")  # fmt: skip
        if found["dev"] < min((look["dev"] for look in progress.looks), default=math.inf):
            self.best = _copy(self.net)
        progress.looks.append(found)
        progress.nats, progress.words = 0.0, 0

    def _save(self, path: Path) -> None:
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optim.{number}.{name}": tensor for name, tensor in values.items()}
        write_tensors(path, tensors, {"purpose": self.purpose, "progress": asdict(self.progress)})

    def _restore(self, path: Path) -> None:
        """Goes on from a resume point. One that is damaged, or of another text or other options, is named, not used."""
        if not path.exists():
            return
        try:
            tensors, data = read_tensors(path)
            if data.get("purpose") != self.purpose:
                raise InputError(f"{path} is of another text or other options")
        except InputError as e:
            print(f"the training begins anew: {e}")
            return
        self.progress = Progress(**data["progress"])
        self.net.load_state_dict(_under("net.", tensors))
        self.best = _under("best.", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optim.", tensors).items():
            number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def perplexity(net: Net, corpus: Corpus, num_words: int) -> float:
    """Per word and end of a sentence; `<unk>` counts as a word."""
    net.eval()
    lengths = np.diff(corpus.starts)
    ordered = np.argsort(lengths, kind="stable")
    per_batch = max(1, num_words // int(lengths.max()))
    with torch.inference_mode():
        parts = (ordered[at : at + per_batch] for at in range(0, len(ordered), per_batch))
        nats = sum(_nats(net, corpus.batch(part))[0].item() for part in parts)
    return math.exp(min(nats / len(corpus.ids), 700.0))


def _nats(net: Net, batch: Batch) -> tuple[Tensor, int]:
    """The cost of the words of a batch, summed, and their number."""
    before, following, is_word = batch
    hidden, _ = net(before)
    log_probs = net.log_probs(hidden[is_word], following[is_word])
    return -log_probs.sum(), len(log_probs)


def _rate(done: float) -> float:
    """The share of the highest learning rate after a share of the updates: up linearly, then down a cosine."""
    if done < WARMUP:
        return (done + 1e-3) / (WARMUP + 1e-3)
    return LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


def _initialised(net: Net, seed: int) -> Net:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            bound = parameter.shape[-1] ** -0.5
            parameter.uniform_(-bound, bound, generator=random)
    return net


def _copy(net: Net) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _purpose(cfg: LmConfig, seed: int, *corpora: Corpus) -> str:
    """A digest of the text and the options that a training's bits depend on."""
    options: dict[str, Any] = {name: getattr(cfg, name) for name in ("hidden", "layers", "dropout", "lr", "batch",
                                                                     "updates")}  # fmt: skip
    digest = hashlib.sha256(repr((options, seed)).encode())
    for corpus in corpora:
        digest.update(corpus.ids.tobytes() + corpus.starts.tobytes())
    return digest.hexdigest()
