"""Training and dev set from their manifests: token table, targets, and a list of the utterances set aside."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data.alignments import read_timed
from asr.data.dataset import Utterances, load_input
from asr.data.transcript import Demands, table_of_unlisted, token_table
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.states import States
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

SET_ASIDE = "set_aside.jsonl"
ALIGNED_WITHIN_S = 0.15  # between the lengths of a recording and of its alignment, whose frames end before it does


class Sets(NamedTuple):
    """The first `own` utterances of `train` are those of data.train, the others those of data.replay."""

    tokens: Tokens
    train: Utterances
    dev: Utterances
    own: int
    general: Utterances | None  # data.general_dev


def prepare_sets(cfg: Config, folder: Path, extend: Callable[[Tokens], Tokens] | None = None) -> Sets:
    """The token table, the training set and the dev sets.

    `extend` gives the run's table for that of the lexicon or the training text. Writes `folder/tokens.txt`, and
    `folder/set_aside.jsonl` with the id of each utterance set aside and the reason. Raises InputError if a set has no
    usable utterance.
    """
    aside: dict[str, str] = {}
    paths = {"train": cfg.data.train, "dev": cfg.data.dev, "replay": cfg.data.replay, "general": cfg.data.general_dev}
    read = {name: with_durations(cfg, path, aside) for name, path in paths.items() if path}
    lexicon = Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None
    tokens = choose_table(cfg, folder, read["train"] + read.get("replay", []), lexicon, extend)
    if cfg.criterion.alignments:
        usable = aligned(cfg, read, tokens, aside, lexicon)
    else:
        usable = {name: keep_usable(cfg, found, tokens, lexicon, aside) for name, found in read.items()}
    write_set_aside(folder, aside)
    if aside:
        tqdm.write(told_aside(folder, aside))
    for name, (utterances, targets) in usable.items():
        path = paths[name]
        if not utterances:
            raise InputError(f"{path}: 0 usable utterances; {folder / SET_ASIDE} gives the reason for each")
        if not (silent := sum(not target for target in targets)):
            continue
        if silent == len(utterances):
            raise InputError(f"{path}: the text of each usable utterance is empty; expected words in some of them")
        tqdm.write(f'{path}: {silent} utterances have "text": "" and count as nothing said (only blanks)')
    tokens.write(folder / "tokens.txt")
    train, replay = usable["train"], usable.get("replay", ([], []))
    train_set = Utterances(cfg, train[0] + replay[0], train[1] + replay[1], cfg.augment)
    general = Utterances(cfg, *usable["general"]) if "general" in usable else None
    return Sets(tokens, train_set, Utterances(cfg, *usable["dev"]), len(train[0]), general)


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


def choose_table(
    cfg: Config,
    folder: Path,
    train: list[Utterance],
    lexicon: Lexicon | None,
    extend: Callable[[Tokens], Tokens] | None,
) -> Tokens:
    """The run's token table: that of an earlier start, else tokens.table, else the units of the lexicon (phones) or of
    the training text, as `extend` changes them."""
    path = folder / "tokens.txt"
    if cfg.criterion.alignments:
        return Tokens.read(Path(cfg.criterion.alignments or "").with_name("tokens.txt"))
    if path.exists() and (folder / "config.json").exists():  # without it, of a start that failed
        return Tokens.read(path)
    if cfg.tokens.table:
        return Tokens.read(cfg.tokens.table)
    if cfg.tokens.unit == "phone" and lexicon:
        tokens = Tokens([BLANK, *lexicon.units()])
    else:
        size = 0 if extend else cfg.tokens.size  # a start has pieces; new characters are all that it may lack
        tokens = token_table((u.text for u in train if u.text), cfg.tokens.unit, lexicon, size)
    return extend(tokens) if extend else tokens


def aligned(
    cfg: Config,
    read: dict[str, list[Utterance]],
    tokens: Tokens,
    aside: dict[str, str],
    lexicon: Lexicon | None = None,
) -> dict[str, tuple[list[Utterance], list[list[int]]]]:
    """The utterances of each set that have an alignment, and the output of each of their frames; `aside` gets the
    others. `tokens`: the table of the outputs; no path of HMMs passes the blank. `lexicon`: that of the words of the
    texts, for LF-MMI. Raises InputError for alignments of other outputs."""
    paths, frame_s = read_timed(cfg.criterion.alignments or "")
    frame_s = frame_s or cfg.features.shift_ms / 1000
    least = 1 if States.of(tokens) else 0
    if any(len(path) and not least <= path.min() <= path.max() < len(tokens) for path in paths.values()):
        raise InputError(f"{cfg.criterion.alignments} has other outputs than the tokens.txt beside it; align again")
    usable = {}
    for name, utterances in read.items():
        lengths = {u.id: len(paths.get(u.id, ())) for u in utterances}
        faults = {u.id: fault for u in utterances if (fault := _misfit(cfg, u, lengths[u.id], frame_s, lexicon))}
        aside |= faults
        kept = [u for u in utterances if u.id not in faults]
        usable[name] = kept, [paths[u.id].tolist() for u in kept]
    return usable


def _misfit(cfg: Config, utterance: Utterance, frames: int, frame_s: float, lexicon: Lexicon | None) -> str | None:
    """Why an alignment of so many frames is not an utterance's, or its text is of no use; None if both fit."""
    if not frames:
        return "it has no alignment"
    if cfg.criterion.kind != "ce":
        try:
            words = utterance.transcript.split()
        except InputError as e:
            return str(e)
        if cfg.criterion.kind == "lfmmi" and lexicon and (missing := [w for w in words if w not in lexicon]):
            return f"not in the lexicon: {', '.join(missing)}"
    aligned_s, sound_s = frames * frame_s, utterance.duration_s or 0.0
    if abs(aligned_s - sound_s) <= ALIGNED_WITHIN_S:
        return None
    return (f"its alignment lasts {aligned_s:.2f} s and its sound {sound_s:.2f} s: that is another recording's, or "
            "features.shift_ms is not that of the HMMs")  # fmt: skip


def write_set_aside(folder: Path, aside: dict[str, str]) -> None:
    """Lists the utterances that are not used, and why, by id."""
    with atomic_write(folder / SET_ASIDE) as file:
        file.writelines(json.dumps({"id": i, "why": w}, ensure_ascii=False) + "\n" for i, w in aside.items())


def told_aside(folder: Path, aside: dict[str, str]) -> str:
    first, why = next(iter(aside.items()))
    return f"{len(aside)} utterances set aside, see {folder / SET_ASIDE}; the first is {first}: {why}"


def keep_usable(cfg: Config, utterances: list[Utterance], tokens: Tokens, lexicon: Lexicon | None,
                aside: dict[str, str]) -> tuple[list[Utterance], list[list[int]]]:  # fmt: skip
    """The utterances that can be trained on, and their targets; `aside` gets the reason for each of the others."""
    frame_s = cfg.features.shift_ms / 1000 * cfg.model.subsampling
    demands = Demands(cfg.tokens.unit, tokens, lexicon, frame_s, cfg.data.max_audio_s)
    kept: list[Utterance] = []
    targets: list[list[int]] = []
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
    return kept, targets
