"""What earlier verbs left for later ones: the trained configuration, the tuned scales, the options in a bundle.

Where they become overrides, those of the command line stand behind them and so have the last word.
"""

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

from asr.config import Config, FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.tokens import Tokens

MAX_AUDIO_S = 600  # of a recording to transcribe; training's limit is lower
TUNED = ("acoustic_scale", "word_penalty", "blank_penalty")


def tuning_path(cfg: Config) -> Path:
    return Path(cfg.out) / "tune.json"


def calibration_path(cfg: Config) -> Path:
    return Path(cfg.out) / "calibration.json"


def tuned(cfg: Config) -> list[str]:
    """What `asr tune` and `asr calibrate` found as overrides; none where they have not been run."""
    overrides = tuned_scales(cfg)
    path = calibration_path(cfg)
    if path.exists():
        try:
            found = _read_json(path)
            overrides += [f"decoder.confidence_{name}={float(found[name])}" for name in ("scale", "offset")]
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(
                f"{path} is not what `asr calibrate` writes ({e!r}); delete it, or run `asr calibrate` again"
            ) from e
    return overrides


def tuned_scales(cfg: Config) -> list[str]:
    """The best point of `asr tune` as overrides; none where it has not been run."""
    path = tuning_path(cfg)
    if not path.exists():
        return []
    try:
        best = _read_json(path)["points"][0]
        overrides = [f"decoder.{name}={float(best[name])}" for name in TUNED]
    except (KeyError, IndexError, TypeError, ValueError) as e:
        raise InputError(f"{path} is not what `asr tune` writes ({e!r}); delete it, or run `asr tune` again") from e
    print(f"tuned on dev ({path}): {' '.join(overrides)}")
    return overrides


def bundled(cfg: Config) -> list[str]:
    """The decoder options in a bundle as overrides; none from a damaged one, which is told when it is opened."""
    limit = f"data.max_audio_s={MAX_AUDIO_S}"
    try:
        with zipfile.ZipFile(cfg.bundle) as archive:
            decoder = json.loads(archive.read("config.json"))["decoder"]
        return [limit, *(f"decoder.{name}={'null' if value is None else value}" for name, value in decoder.items())]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, AttributeError, TypeError):
        return [limit]


def as_trained(cfg: Config) -> Config:
    """`cfg` with the features, model and units of the trained net in the run folder, whatever `cfg` says of them, and
    with its lexicon where `cfg` names none."""
    path = Path(cfg.out) / "train" / "config.json"
    if not path.exists():
        raise InputError(f"{path.parent} holds no trained model; run `asr train out={cfg.out}` first")
    try:
        trained = _read_json(path)
        cfg = copy.deepcopy(cfg)
        cfg.features = FeaturesConfig(**trained["features"])
        cfg.model = ModelConfig(**trained["model"])
        cfg.tokens.unit = trained["tokens"]["unit"]
        cfg.tokens.lexicon = cfg.tokens.lexicon or trained["tokens"].get("lexicon")
        cfg.graph.lexicon = cfg.graph.lexicon or cfg.tokens.lexicon
    except (KeyError, TypeError) as e:
        raise InputError(f"{path} is not of this version ({e!r}); train again in another folder with out=") from e
    return cfg


def tokens(cfg: Config) -> Tokens | None:
    """The configured token table, else that of the trained net, else None."""
    path = Path(cfg.tokens.table or Path(cfg.out) / "train" / "tokens.txt")
    return Tokens.read(path) if cfg.tokens.table or path.exists() else None


def card(cfg: Config) -> str:
    """What the bundle is, for people: the net, its units, its options, and its error rate where it was scored."""
    lines = [f"# {Path(cfg.out).name}", "", "A speech recogniser: CTC acoustic model", ""]
    facts = {
        "model": f"{cfg.model.kind}, {cfg.model.layers} x {cfg.model.hidden}",
        "features": f"{cfg.features.kind}, {cfg.features.sample_rate_hz} Hz",
        "unit": cfg.tokens.unit,
        "decoder": f"{cfg.decoder.kind}, beam {cfg.decoder.beam:g}, acoustic scale {cfg.decoder.acoustic_scale:g}",
        "trained on": cfg.data.train,
    }
    report = Path(cfg.score.dir) / "score.json"
    if report.exists() and (scored := _read_json(report))["wer"] is not None:
        facts["word error rate"] = f"{scored['wer']:.2%} on {scored.get('reference') or 'an unknown reference'}"
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; the verb that wrote it can write it again") from e
