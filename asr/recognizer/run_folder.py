"""Results in a run folder that later verbs read: the trained configuration, tuned scales, calibration, the graph."""

import copy
import dataclasses
import json
import logging
import os
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.config import AdaptConfig, Config, CriterionConfig, FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.files import atomic_write
from asr.fingerprints import digest
from asr.literals import parse_json
from asr.locks import locked
from asr.tokens import Tokens

if TYPE_CHECKING:
    from asr.hmm.model import Hmm
    from asr.models.acoustic import AcousticModel
    from asr.models.imported import Imported, OnnxModel
    from asr.recognizer.bundle import Bundle
    from asr.search.space import SearchSpace
    from asr.training.start import Start

_log = logging.getLogger(__name__)
IMPORTED = "imported.asr"  # in `train`: a model that `asr import` made, in place of a trained one
TUNED = ("acoustic_scale", "word_penalty", "blank_penalty")


def tuning_path(cfg: Config) -> Path:
    return Path(cfg.out) / "tune.json"


def calibration_path(cfg: Config) -> Path:
    return Path(cfg.out) / "calibration.json"


def tuning(cfg: Config, given: Collection[str] = ()) -> tuple[dict[str, Any], AdaptConfig]:
    """What `asr tune` found: decoder options, and how HMMs adapted to the speakers. If it has not been run, no options
    and `cfg.adapt`. A language model that ranks readings anew is among the options if it made the dev set better.
    Options of `cfg.adapt` that differ from the defaults, and those that `given` names, keep their values. Warns if HMMs
    then adapt in another way than in the tuning."""
    path = tuning_path(cfg)
    if not path.exists():
        return {}, cfg.adapt
    found = _read_json(path)
    try:
        adapt = _adaptation(found, cfg.adapt, given)
        return _tuned_decoder(path, found, dataclasses.replace(cfg, adapt=adapt)), adapt
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
        raise InputError(f"{path} is not what `asr tune` writes ({e!r}); delete it, or run `asr tune` again") from e


def _tuned_decoder(path: Path, found: Any, cfg: Config) -> dict[str, Any]:
    scales = {name: float(found["points"][0][name]) for name in TUNED}
    second = found.get("rescoring")  # earlier versions did not write it
    if not second or not second["points"][0]["share"]:
        _warn_if_other(path, found, cfg, "tune")
        return scales | ({"rescore": None} if second else {})
    decoder = dataclasses.replace(cfg.decoder, rescore=str(second["model"]))
    _warn_if_other(path, found, dataclasses.replace(cfg, decoder=decoder), "tune")
    best = second["points"][0]
    if second.get("lattice_beam"):  # earlier versions did not write it
        scales |= {"lattice_beam": float(second["lattice_beam"])}
    return scales | {"rescore": str(second["model"]), "rescore_nbest": int(second["nbest"]),
                     "rescore_share": float(best["share"]), "rescore_penalty": float(best["penalty"])}  # fmt: skip


def _adaptation(found: Any, chosen: AdaptConfig, given: Collection[str]) -> AdaptConfig:
    """That of the tuning, but for the options of `chosen` that keep their values."""
    if not (recorded := found.get("adapt")):  # earlier versions did not write it
        return chosen
    tuned, default = AdaptConfig(int(recorded["passes"]), float(recorded["speech_s"])), AdaptConfig()
    own = {name: value for name, value in vars(chosen).items()
           if f"adapt.{name}" in given or value != getattr(default, name)}  # fmt: skip
    return dataclasses.replace(tuned, **own)


def calibration(cfg: Config) -> dict[str, Any]:
    """Decoder options that `asr calibrate` found; empty if it has not been run."""
    path = calibration_path(cfg)
    if not path.exists():
        return {}
    try:
        found = _read_json(path)
        _warn_if_other(path, found, cfg, "calibrate")
        fitted = {f"confidence_{name}": float(found[name]) for name in ("scale", "offset")}
        fitted |= {"confidence_clarity": float(found.get("clarity", 0.0))}  # earlier versions did not write it
        search = [str(option) for option in found.get("search", [])]  # earlier versions did not write it
        return fitted | ({"calibrated_for": search} if search else {})
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(
            f"{path} is not what `asr calibrate` writes ({e!r}); delete it, or run `asr calibrate` again"
        ) from e


def forget_calibration(cfg: Config) -> None:
    """Deletes that of other scales, and says so."""
    if (path := calibration_path(cfg)).exists():
        path.unlink()
        _log.warning("%s was of other scales and is deleted; run `asr calibrate` again", path)


def made_with(cfg: Config) -> dict[str, str | None]:
    """What tuned scales and calibrations belong to: digests of the net, the graph and the language model of a second
    pass, None for one that is not a file; and how HMMs adapt to a speaker."""
    graph: str | None = None
    if cfg.decoder.kind == "graph" and cfg.graph.kind in ("static", "dynamic"):
        folder = Path(cfg.graph.dir)
        files = [folder / "graph.bin"] if cfg.graph.kind == "static" else [folder / "tree.bin"]
        files += [Path(cfg.graph.ngram or folder / "lm.ngram")] if cfg.graph.kind == "dynamic" else []
        digests = [digest(file) for file in files]
        graph = None if None in digests else " ".join(map(str, digests))
    folder = Path(cfg.out) / "train"
    net = digest(folder / IMPORTED) or digest(folder / "final.safetensors")
    adapted = f"{cfg.adapt.passes} passes over {cfg.adapt.speech_s:g} s"
    return {"net": net, "graph": graph, "decoder.rescore": digest(cfg.decoder.rescore), "adapt": adapted}


def _warn_if_other(path: Path, found: Any, cfg: Config, verb: str) -> None:
    """Warns if a result was made with another net, graph or language model than those of `cfg`."""
    before, now = found.get("made_with"), made_with(cfg)
    for part, digested in now.items() if isinstance(before, dict) else ():
        if before.get(part) and digested and before[part] != digested:
            _log.warning("%s was made with another %s; run `asr %s` again", path, part, verb)


def tuned(cfg: Config) -> Config:
    """`cfg` with the decoder options that `asr tune` and `asr calibrate` found in its run folder. Options of `adapt`
    that have their defaults become those with which HMMs adapted to the speakers in the tuning."""
    cfg = copy.copy(cfg)
    scales, cfg.adapt = tuning(cfg)
    cfg.decoder = copy.copy(cfg.decoder)
    vars(cfg.decoder).update(scales | calibration(cfg))
    return cfg


def as_trained(cfg: Config, encoder: str | None = None) -> Config:
    """`cfg` with the features, model, units and kind of criterion of the net trained in its run folder, or imported
    into it.

    The training's lexicon is used if `cfg` names none. `encoder`: where the encoder of the training is now, if it has
    moved; `load_model` compares its weights. Raises InputError if nothing was trained.
    """
    folder = Path(cfg.out)
    path = folder / "train" / "config.json"
    if not path.exists():
        raise InputError(f"{path.parent} holds no trained model; run `asr train out={cfg.out}` first, or `asr import`")
    trained = _read_json(path)
    try:
        features, model = FeaturesConfig(**trained["features"]), ModelConfig(**trained["model"])
        unit, lexicon = trained["tokens"]["unit"], trained["tokens"].get("lexicon")
        kind = trained.get("criterion", {}).get("kind", "ctc")
        criterion = CriterionConfig(kind=trained.get("outputs", kind))  # of MWER and sMBR, what they started from
    except (KeyError, TypeError, AttributeError, InputError) as e:
        raise InputError(f"{path} is not of this version ({e!r}); train again in another folder with out=") from e
    is_relative = "sha256" in trained  # earlier versions stored paths relative to the working directory
    if features.encoder and (folder / features.encoder).is_dir():  # one that `init` brought
        features.encoder = str(folder / features.encoder)
    own_lexicon = cfg.tokens.lexicon or (str(folder / lexicon) if lexicon and is_relative else lexicon)
    cfg = copy.copy(cfg)
    cfg.features, cfg.model, cfg.criterion = _with_encoder(features, encoder), model, criterion
    cfg.tokens, cfg.graph = copy.copy(cfg.tokens), copy.copy(cfg.graph)
    cfg.tokens.unit, cfg.tokens.lexicon = unit, own_lexicon
    cfg.graph.lexicon = cfg.graph.lexicon or own_lexicon
    return cfg


def with_manifests(cfg: Config, *splits: str) -> Config:
    """`cfg` with the manifests of the run's training, for each that has its default place and does not exist there."""
    path = Path(cfg.out) / "train" / "config.json"
    if not path.exists():
        return cfg
    trained = _read_json(path)
    recorded = trained.get("data") if isinstance(trained, dict) and "sha256" in trained else None
    found = {}
    for split in splits:
        place = Path(getattr(cfg.data, split))
        stored = recorded.get(split) if isinstance(recorded, dict) else None
        is_default = os.path.abspath(place) == os.path.abspath(Path(cfg.out) / "data" / f"{split}.jsonl")
        if isinstance(stored, str) and is_default and not place.exists():
            found[split] = os.path.normpath(Path(cfg.out) / stored)
    if found:
        cfg = copy.copy(cfg)
        cfg.data = copy.copy(cfg.data)
        vars(cfg.data).update(found)
    return cfg


def for_sound(cfg: Config) -> Config:
    """`as_trained(cfg)` for recordings: a net of stored features gets the front end that made them, if recorded."""
    from asr.features import recorded

    place, cfg = cfg.features.encoder, as_trained(cfg, cfg.features.encoder)
    if cfg.features.kind == "stored" and (front_end := recorded.read(Path(cfg.out) / "train" / "frontend.json")):
        cfg.features = recorded.behind(_with_encoder(front_end, place), cfg.features)
    return cfg


def _with_encoder(features: FeaturesConfig, place: str | None) -> FeaturesConfig:
    """`features` with their encoder at `place`, if that is given and the encoder is where it was no longer."""
    has_moved = features.encoder is not None and not Path(features.encoder).exists()
    return dataclasses.replace(features, encoder=place) if place and has_moved else features


def tokens(cfg: Config) -> Tokens | None:
    """The configured token table, else that of the trained net, else None."""
    path = Path(cfg.tokens.table or Path(cfg.out) / "train" / "tokens.txt")
    return Tokens.read(path) if cfg.tokens.table or path.exists() else None


def load_model(cfg: Config) -> "tuple[AcousticModel | OnnxModel, Tokens]":
    """The final model of a run folder, or the one imported into it, and its tokens."""
    from asr.recognizer import bundle
    from asr.training import trainer

    path = Path(cfg.out) / "train" / IMPORTED
    if not path.exists():
        return trainer.load_model(cfg)
    opened = bundle.read(path)
    return opened.model, opened.tokens


def open_model(path: str) -> "tuple[AcousticModel | OnnxModel, Config, Tokens, SearchSpace | None]":
    """The model of a bundle or of a run folder, for sound, with its configuration and tokens, and the graph of a
    bundle that has one."""
    from asr.recognizer import bundle

    if Path(path).is_dir():
        cfg = for_sound(Config(out=path))
        model, tokens = load_model(cfg)
        return model, cfg, tokens, None
    opened = bundle.read(path)
    return opened.model, opened.cfg, opened.tokens, opened.space


def search_space(cfg: Config, tokens: Tokens) -> "SearchSpace":
    """The graph `cfg.graph.dir`. Raises InputError if it is of other tokens or HMMs than the model's."""
    from asr.search.space import SearchSpace

    space = SearchSpace.read(cfg.graph.dir, tokens, cfg.graph.ngram)
    check_hmms(cfg)
    return space


def hmm(cfg: Config) -> "Hmm | None":
    """The HMMs of the run folder; None if its net was trained with CTC."""
    from asr.hmm.model import Hmm
    from asr.states import HMM_FILE

    path = Path(cfg.out) / "train" / HMM_FILE
    return Hmm.read(path) if path.exists() else None


def check_hmms(cfg: Config) -> None:
    """Raises InputError if the graph is of other HMMs than the model's; those may have the same outputs."""
    from asr.hmm.graph import HmmExpansion
    from asr.search.space import read_stats

    if own := hmm(cfg):
        made_of = read_stats(cfg.graph.dir).get("expansion")
        if made_of and HmmExpansion(own).digest != made_of:
            raise InputError(f"{cfg.graph.dir}: the graph is of other HMMs than {cfg.out}/train/hmm.json; run "
                             "`asr graph` again")  # fmt: skip


def read_start(path: str) -> "Start":
    """The recogniser that a training continues: a bundle, or the model in a run folder.

    Raises InputError if there is none, or if it cannot be trained.
    """
    from asr.models.acoustic import AcousticModel
    from asr.search.nbest import TrainingSearch
    from asr.training.start import Start

    model, cfg, tokens, space = open_model(path)
    file = Path(path)
    if file.is_dir():
        file = next(p for name in (IMPORTED, "final.safetensors") if (p := file / "train" / name).exists())
    if not isinstance(model, AcousticModel):
        raise InputError(f"{path} holds a model in ONNX, which cannot be trained; name a recogniser that was trained "
                         "here, or imported from Hugging Face")  # fmt: skip
    make_search = None if space is None else partial(TrainingSearch, cfg.decoder, space)
    return Start(str(file), model, cfg, tokens, make_search)


def write_imported(folder: str | Path, imported: "Imported | Bundle") -> Path:
    """Makes an imported model, or that of a bundle, that of a run folder; returns its file.

    Raises InputError if the folder holds a training.
    """
    from asr.recognizer import bundle

    place = Path(folder) / "train"
    if (place / "final.safetensors").exists() or (place / "state.json").exists():
        raise InputError(f"{place} holds a training; choose another folder with out=")
    card = imported.card() if callable(imported.card) else imported.card
    decoder = dataclasses.replace(imported.cfg.decoder, rescore=None)  # a second pass needs a graph
    cfg = dataclasses.replace(imported.cfg, decoder=decoder)
    with locked(place):
        bundle.write(place / IMPORTED, imported.model, cfg, imported.tokens, None, card)
        imported.tokens.write(place / "tokens.txt")
        with atomic_write(place / "config.json") as file:
            json.dump(_described(imported.cfg), file, indent=1)
    return place / IMPORTED


def _described(cfg: Config) -> dict[str, Any]:
    """The options of an imported model that `as_trained` reads."""
    groups = {name: dataclasses.asdict(getattr(cfg, name)) for name in ("features", "model")}
    return groups | {"tokens": {"unit": cfg.tokens.unit}, "sha256": {}}


def read(folder: str | Path) -> "Bundle":
    """A run folder as the bundle that `asr bundle` would make of it; the graph is the one in `folder/graph`.

    Raises InputError if the folder holds no trained net or no graph.
    """
    from asr.recognizer.bundle import Bundle

    cfg = for_sound(tuned(Config(out=str(folder))))
    model, tokens = load_model(cfg)
    space = search_space(cfg, tokens)
    cfg.graph.silence = space.silence
    return Bundle(model, cfg, tokens, space, card(cfg), hmm=hmm(cfg))


def card(cfg: Config) -> str:
    """A description of the bundle for people: the net, its units, its options, and its error rate if it was scored."""
    from asr.recognizer import bundle

    imported, encoder = (Path(cfg.out) / "train" / name for name in (IMPORTED, "encoder.json"))
    decoder = f"{cfg.decoder.kind}, beam {cfg.decoder.beam:g}, acoustic scale {cfg.decoder.acoustic_scale:g}"
    if imported.exists():
        lines, facts = bundle.read(imported).card.splitlines(), {"decoder": decoder}
    else:
        lines = [f"# {Path(cfg.out).name}", "", "A speech recogniser: CTC acoustic model", ""]
        facts = {
            "model": f"{cfg.model.kind}, {cfg.model.layers} x {cfg.model.hidden}",
            "features": f"{cfg.features.kind}, {cfg.features.sample_rate_hz} Hz",
            "unit": cfg.tokens.unit,
            "decoder": decoder,
            "trained on": cfg.data.train,
        }
    if cfg.features.kind == "pretrained" and encoder.exists():
        facts |= encoder_facts(_read_json(encoder))
    if start := _read_json(Path(cfg.out) / "train" / "config.json").get("init"):
        facts["started from"] = start
    report = Path(cfg.score.dir) / "score.json"
    if report.exists() and (scored := _read_json(report))["wer"] is not None:
        facts["word error rate"] = f"{scored['wer']:.2%} on {scored.get('reference') or 'an unknown reference'}"
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


def encoder_facts(recorded: dict[str, Any]) -> dict[str, str]:
    """What a card says about the encoder that a training has recorded. Early ones lack its licence and its size."""
    size = f"{recorded['bytes']} bytes, " if "bytes" in recorded else ""
    licence = recorded.get("licence") or "not stated by the source"
    return {
        "encoder": f"{recorded['source']}, weights of {size}SHA-256 {recorded['sha256']}",
        "licence of the encoder": licence,
    }


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; run the verb that writes it again") from e
