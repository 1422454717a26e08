"""A recogniser small enough to reason about: tokens a, b and space; words `a` and `b`, each one token long."""

import json
import math

import numpy as np
import torch

from asr.config import Config
from asr.graph.arrays import ARC, Arrays
from asr.graph.pack import write
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle
from asr.tokens import BLANK, SPACE, Tokens

TOKENS = Tokens([BLANK, SPACE, "a", "b"])


def config(**features):
    cfg = Config()
    cfg.features.num_bins, cfg.features.cmvn = 8, "utterance"
    cfg.model.hidden, cfg.model.layers = 8, 1
    for name, value in features.items():
        setattr(cfg.features, name, value)
    return cfg


def model(cfg, seed=3):
    torch.manual_seed(seed)
    made = AcousticModel(cfg.features, cfg.model, len(TOKENS)).eval()
    if cfg.features.cmvn == "causal":
        made.frontend.set_global_stats(torch.full((made.frontend.dim,), -3.0), torch.full((made.frontend.dim,), 2.0))
    with torch.no_grad():
        made.net.output.linear.weight *= 20  # so that the words vary
    return made


def graph_dir(folder, symbols=TOKENS.symbols, silence=None):
    """The files of `asr graph` for the language (a|b)*, its CTC topology written by hand."""
    blank, a, b = (Tokens.label(k) for k in (0, 2, 3))
    arcs = [  # source, input label, output label, next; state 0 follows a blank, 1 an `a`, 2 a `b`
        (0, blank, 0, 0), (0, a, 1, 1), (0, b, 2, 2),
        (1, blank, 0, 0), (1, a, 0, 1), (1, b, 2, 2),
        (2, blank, 0, 0), (2, a, 1, 1), (2, b, 0, 2),
    ]  # fmt: skip
    packed = np.array([(i, o, 0.0, to) for _, i, o, to in arcs], dtype=ARC)
    folder.mkdir(exist_ok=True)
    with open(folder / "graph.bin", "wb") as file:
        write(Arrays(0, np.zeros(3, np.float32), np.array([arc[0] for arc in arcs]), packed), file)
    (folder / "words.txt").write_text("<eps>\na\nb\n")
    (folder / "lexicon.txt").write_text("a a\nb b\n")
    (folder / "stats.json").write_text(json.dumps({"silence": silence}))
    Tokens(symbols).write(folder / "tokens.txt")
    return folder


def write_bundle(path):
    """The recogniser of the default options in one file; returns its path."""
    cfg = config()
    bundle.write(path, model(cfg), cfg, TOKENS, graph_dir(path.parent / "graph"), "# tiny")
    return path


def noise(seconds, seed=0, rate_hz=16000):
    """Samples (T,) float32 whose colour changes every tenth of a second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=round(seconds * rate_hz)) * 0.1
    pitch = np.repeat(rng.uniform(100, 3000, len(x) * 10 // rate_hz + 1), rate_hz // 10)[: len(x)]
    return (x * 0.1 + 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate_hz)).astype(np.float32)


def ctc_cost(costs, tokens):
    """The cost of the best path of frame costs (F, V) that reads `tokens`."""
    states = [0, *(k for token in tokens for k in (token, 0))]
    alive = [costs[0, 0], *([costs[0, tokens[0]]] if tokens else []), *[math.inf] * len(states)][: len(states)]
    for frame in costs[1:]:
        alive = [
            frame[token]
            + min(
                alive[s],
                alive[s - 1] if s else math.inf,
                alive[s - 2] if s > 1 and token and token != states[s - 2] else math.inf,
            )
            for s, token in enumerate(states)
        ]
    return min(alive[-2:])
