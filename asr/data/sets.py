"""Training and dev set from their manifests: token table, targets, and a list of the utterances set aside."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from asr import manifest
from asr.config import AugmentConfig, Config
from asr.data.dataset import Utterances, load_input
from asr.data.transcript import Demands, table_of_unlisted, token_table
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens


def prepare_sets(cfg: Config, folder: Path) -> tuple[Tokens, Utterances, Utterances]:
    """The token table, the training set and the dev set.

    Writes `folder/tokens.txt`, and `folder/set_aside.jsonl` with the id of each utterance set aside and the reason.
    Raises InputError if a set has no usable utterance.
    """
    aside: dict[str, str] = {}
    train, dev = (with_durations(cfg, path, aside) for path in (cfg.data.train, cfg.data.dev))
    lexicon = Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None
    tokens = choose_table(cfg, folder, train, lexicon)
    train_set = keep_usable(cfg, train, tokens, lexicon, aside, cfg.augment)
    dev_set = keep_usable(cfg, dev, tokens, lexicon, aside)
    with atomic_write(folder / "set_aside.jsonl") as file:
        file.writelines(json.dumps({"id": i, "why": w}, ensure_ascii=False) + "\n" for i, w in aside.items())
    if aside:
        first, why = next(iter(aside.items()))
        tqdm.write(f"{len(aside)} utterances set aside, see {folder / 'set_aside.jsonl'}; the first is {first}: {why}")
    for path, utterances in ((cfg.data.train, train_set), (cfg.data.dev, dev_set)):
        if not len(utterances):
            raise InputError(f"{path}: 0 usable utterances; {folder / 'set_aside.jsonl'} gives the reason for each")
        if not (silent := sum(not len(target) for target in utterances.targets)):
            continue
        if silent == len(utterances):
            raise InputError(f"{path}: the text of each usable utterance is empty; expected words in some of them")
        tqdm.write(f'{path}: {silent} utterances have "text": "" and count as nothing said (only blanks)')
    tokens.write(folder / "tokens.txt")
    return tokens, train_set, dev_set


def with_durations(cfg: Config, path: str, aside: dict[str, str]) -> list[Utterance]:
    """A manifest's utterances with their durations. A duration that the manifest lacks is measured."""
    utterances = []
    for u in manifest.read(path):
        try:
            if u.duration_s is None:
                u = replace(u, duration_s=measure_s(cfg, u))
        except InputError as e:
            aside[u.id] = str(e)
            continue
        utterances.append(u)
    return utterances


def measure_s(cfg: Config, utterance: Utterance) -> float:
    """Seconds of an utterance without a duration: from its start to the end of its audio or stored features."""
    if utterance.audio is not None:
        return audio.info(utterance.audio).duration_s - utterance.start_s
    return len(load_input(cfg, utterance)) * cfg.features.shift_ms / 1000


def choose_table(cfg: Config, folder: Path, train: list[Utterance], lexicon: Lexicon | None) -> Tokens:
    """The run's token table: that of an earlier start, else tokens.table, else the units of the lexicon (phones), else
    the units of the training text."""
    path = folder / "tokens.txt"
    if path.exists() and (folder / "config.json").exists():  # without it, of a start that failed
        return Tokens.read(path)
    if cfg.tokens.table:
        return Tokens.read(cfg.tokens.table)
    if cfg.tokens.unit == "phone" and lexicon:
        return Tokens([BLANK, *lexicon.units()])
    return token_table((u.text for u in train if u.text), cfg.tokens.unit, lexicon)


def keep_usable(cfg: Config, utterances: list[Utterance], tokens: Tokens, lexicon: Lexicon | None,
                aside: dict[str, str], augment: AugmentConfig | None = None) -> Utterances:  # fmt: skip
    """The utterances that can be trained on, with their targets; `aside` gets the reason for each of the others."""
    frame_s = cfg.features.shift_ms / 1000 * cfg.model.subsampling
    demands = Demands(cfg.tokens.unit, tokens, lexicon, frame_s, cfg.data.max_audio_s)
    kept, targets = [], []
    unlisted: Counter[str] = Counter()
    for u in utterances:
        try:
            text = u.transcript
        except InputError as e:
            aside[u.id] = str(e)
            continue
        units, faults = demands.examine(text, u.duration_s or 0.0)
        if faults:
            aside[u.id] = "; ".join(faults.values())
            unlisted.update(demands.unlisted(text))
        else:
            kept.append(u)
            targets.append(tokens.encode(units))
    if unlisted:
        tqdm.write("\n".join(table_of_unlisted(unlisted)[1:]))
    return Utterances(cfg, kept, targets, augment)
