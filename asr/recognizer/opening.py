"""Opens a bundle or a run folder as a recogniser: `asr.load`."""

import dataclasses
import difflib
import math
import numbers
import os
from pathlib import Path
from typing import Any, get_args

from asr.config import Config, DecoderConfig
from asr.errors import InputError
from asr.recognizer import bundle, run_folder
from asr.recognizer.inputs import check_channel
from asr.recognizer.recognizer import Recognizer
from asr.search.space import read_stats

_KINDS: dict[Any, tuple[type, str]] = {
    str: (str, "a string"), float: (numbers.Real, "a number"), int: (numbers.Integral, "a whole number"),
}  # fmt: skip


def load(
    path: str | Path,
    device: str = "cpu",
    max_audio_s: float = math.inf,
    g2p: str = "default",
    channel: int | None = None,
    **decoder: Any,
) -> Recognizer:
    """Open a bundle (`*.asr`), or a run folder as the bundle that `asr bundle` would make of it.

    Options of the decoder (`beam`, `max_active`, `kind="greedy"`, ...: see `asr.config.DecoderConfig`) replace the
    bundle's. Recordings longer than `max_audio_s` are refused; without a limit, long recordings are cut at pauses
    (asr.recognizer.long). `g2p` is what pronounces new words for a phone model: "default" (English, or Korean for a
    net of Korean phones), "ko", "none" or a file written by `asr g2p train`. `channel` is the channel that is heard of
    several, counted from 0; None: their mean.
    Raises InputError if the bundle is damaged or an option is unknown.
    """
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise InputError(f"asr.load takes the path of a bundle or of a run folder, not {path!r:.40}")
    is_number = isinstance(max_audio_s, numbers.Real) and not isinstance(max_audio_s, bool)
    if not is_number or not max_audio_s > 0:
        raise InputError(f"max_audio_s={max_audio_s!r} must be a number of seconds above 0; leave it out for no limit")
    check_channel(channel)
    if not isinstance(g2p, str | os.PathLike):
        raise InputError(f"g2p={g2p!r} must be 'default', 'ko', 'none' or the path of a model")
    opened = run_folder.read(path) if Path(path).is_dir() else bundle.read(path)
    cfg = opened.cfg
    cfg.decoder = _with_options(cfg.decoder, decoder)
    cfg.data.max_audio_s, cfg.data.channel, cfg.g2p.model = max_audio_s, channel, str(g2p)
    return Recognizer(opened.model, cfg, opened.tokens, opened.space, device, rescorer=opened.rescorer, hmm=opened.hmm)


def without_graph(cfg: Config) -> Recognizer:
    """A model with greedy search: that of the bundle or run folder `cfg.bundle`, or else, if that has its default
    place, that of the run folder `cfg.out`. The token of silence is `cfg.graph.silence`, or else that of its graph."""
    place, default = Path(cfg.bundle), Path(cfg.out) / "model.asr"
    has_run = (Path(cfg.out) / "train" / "config.json").exists()
    if not place.is_dir() and (place != default or (place.exists() and not has_run)):
        opened = bundle.read(place)
        model, tokens, trained = opened.model, opened.tokens, opened.cfg
        silence = trained.graph.silence
    else:
        folder = cfg.bundle if place.is_dir() else cfg.out
        trained = run_folder.as_trained(dataclasses.replace(cfg, out=folder))
        model, tokens = run_folder.load_model(trained)
        graph = Path(folder) / "graph"
        silence = read_stats(graph).get("silence") if (graph / "stats.json").exists() else None
    options = dataclasses.replace(trained.graph, silence=cfg.graph.silence or silence)
    trained = dataclasses.replace(trained, data=cfg.data, decoder=DecoderConfig(kind="greedy"), graph=options)
    return Recognizer(model, trained, tokens, None, cfg.device)


def _with_options(cfg: DecoderConfig, options: dict[str, Any]) -> DecoderConfig:
    known = {f.name: f.type for f in dataclasses.fields(cfg)}
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or [", ".join(known)]
            raise InputError(f"the decoder has no option '{name}'; did you mean {near[0]}?")
        default, value = getattr(DecoderConfig(), name), options[name]
        if isinstance(default, list):
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise InputError(f"{name}={value!r} must be a list of words")
            options[name] = list(value)
            continue
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise InputError(f"{name}={value!r} must be True or False")
            continue
        types = get_args(known[name]) or (known[name],)  # of float | None: both
        kind, expected = _KINDS[types[0]]
        is_given = isinstance(value, kind) and not isinstance(value, bool)
        if not is_given and not (value is None and type(None) in types):
            raise InputError(f"{name}={value!r} must be {expected}")
    return dataclasses.replace(cfg, **options)
