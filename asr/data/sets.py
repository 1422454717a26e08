"""From manifests to training sets: token table and targets. Unusable utterances are set aside."""

import json
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.criteria import min_frames
from asr.data.dataset import Utterances, load_input
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from asr.text.units import to_units
from asr.tokens import BLANK, Tokens


def prepare_sets(cfg: Config, folder: Path) -> tuple[Tokens, Utterances, Utterances]:
    """Token table, training set and dev set; `folder/set_aside.jsonl` lists the unusable utterances with reasons."""
    aside: dict[str, str] = {}
    train, dev = (with_durations(cfg, path, aside) for path in (cfg.data.train, cfg.data.dev))
    lexicon = Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None
    tokens = token_table(cfg, folder, train, lexicon)
    train, dev = (keep_usable(cfg, utterances, tokens, lexicon, aside) for utterances in (train, dev))
    with atomic_write(folder / "set_aside.jsonl") as file:
        file.writelines(json.dumps({"id": i, "why": w}, ensure_ascii=False) + "\n" for i, w in aside.items())
    if aside:
        first, why = next(iter(aside.items()))
        tqdm.write(f"set aside {len(aside)} utterances, see {folder / 'set_aside.jsonl'}; the first is {first}: {why}")
    for path, utterances in ((cfg.data.train, train), (cfg.data.dev, dev)):
        if not utterances:
            raise InputError(f"{path}: 0 usable utterances; {folder / 'set_aside.jsonl'} says why for each")
    tokens.write(folder / "tokens.txt")
    return tokens, Utterances(cfg, train, tokens, lexicon, cfg.augment.speeds), Utterances(cfg, dev, tokens, lexicon)


def with_durations(cfg: Config, path: str, aside: dict[str, str]) -> list[Utterance]:
    """A manifest's utterances with their durations; a duration that the manifest lacks is read from the file."""
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
    if utterance.audio is not None:
        return audio.info(utterance.audio).duration_s - utterance.start_s
    return len(load_input(cfg, utterance)) * cfg.features.shift_ms / 1000


def token_table(cfg: Config, folder: Path, train: list[Utterance], lexicon: Lexicon | None) -> Tokens:
    """The first of: the table of an earlier start, the configured one, the units of lexicon or training text."""
    path = folder / "tokens.txt"
    if path.exists():
        return Tokens.read(path)
    if cfg.tokens.table:
        return Tokens.read(cfg.tokens.table)
    if cfg.tokens.unit == "phone" and lexicon:
        return Tokens([BLANK, *lexicon.units()])
    return Tokens([BLANK, *sorted({x for u in train for x in to_units(u.text, cfg.tokens.unit, lexicon)})])


def keep_usable(
    cfg: Config, utterances: list[Utterance], tokens: Tokens, lexicon: Lexicon | None, aside: dict[str, str]
) -> list[Utterance]:
    """The utterances with a token for every unit and a usable length; `aside` gets the others with reasons."""
    kept = []
    for u in utterances:
        try:
            targets = tokens.encode(to_units(u.text, cfg.tokens.unit, lexicon))
        except InputError as e:
            aside[u.id] = str(e)
            continue
        frames = (u.duration_s or 0) * 1000 / cfg.features.shift_ms / cfg.model.subsampling
        needed = min_frames(targets)
        if frames < needed:
            aside[u.id] = (
                f"{frames:.0f} output frames are too few for {needed} tokens; check the text, or subsample less"
            )
        elif (u.duration_s or 0) > cfg.data.max_audio_s:
            aside[u.id] = f"{u.duration_s:.1f} s is longer than data.max_audio_s={cfg.data.max_audio_s:g}; split it"
        else:
            kept.append(u)
    return kept
