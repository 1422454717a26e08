"""Single English words from any list, from a net that already knows English.

The net is that of the recipe `english`. It is trained further on telephone prompts, sentences, and the SYNTHETIC words
of prepare.py, all in random rooms and noises. It hears no test recording, and none of the test words in a synthetic
voice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from recipes.commands.prepare import RATE_HZ, Item, Rooms, read, training_items

ENGLISH = Path("exp/english")
SENTENCES = 300  # of those the recipe english trains on
COPIES = {"sentences": 1, "prompts_en": 1, "piper": 2, "espeak": 1}  # each in another room


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, the recordings in their rooms in `train/`, and `lm.txt` in `cfg.data.dir`."""
    if not (ENGLISH / "model.asr").exists():
        raise InputError(f"{ENGLISH}/model.asr is missing; run `python -m recipes.run english` first")
    out, root = Path(cfg.data.dir), cfg.data.root
    rooms = Rooms(root, None)
    train: list[Utterance] = []
    for name, copies in COPIES.items():
        items = sentences() if name == "sentences" else training_items(name, root)
        train += in_rooms(tqdm(items, desc=name, unit="utterance"), rooms, copies, out / "train")
    manifest.write(out / "train.jsonl", train)
    for split, name in (("dev", "fsdd"), ("test", "commands_en")):
        chosen = [u for u in read(name, root) if u.extra["split"] == "test"]
        manifest.write(out / f"{split}.jsonl", [replace(u, extra={}) for u in chosen])
    with atomic_write(out / "lm.txt") as file:
        file.writelines(f"{u.transcript}\n" for u in train)
    return f"real speech of {ENGLISH} and SYNTHETIC speech by Piper and espeak-ng; tested on real speech"


def build(recipe: Recipe) -> None:
    """Train the net and bundle it without a graph: each request brings its own list of words."""
    recipe("train")
    recipe("bundle", "graph.kind=none")


def sentences() -> Iterator[Item]:
    """Some of the sentences of the recipe english, evenly chosen."""
    known = [u for u in manifest.read(ENGLISH / "data/train.jsonl") if u.start_s == 0.0 and u.speaker != "allison"]
    for u in known[:: max(1, len(known) // SENTENCES)]:
        yield u, audio.load(u.audio or "", sample_rate_hz=RATE_HZ)


def in_rooms(items: Iterable[Item], rooms: Rooms, copies: int, folder: Path) -> Iterator[Utterance]:
    """`copies` of each utterance, each in a drawn room and stored as a recording of its own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for u, x in items:
        for copy in range(copies):
            heard = rooms.in_a_room(x, np.random.default_rng([copy, *u.id.encode()]))
            path = folder / f"{u.id}-{copy}.flac"
            soundfile.write(path, heard / max(1.0, 1.01 * float(np.abs(heard).max())), RATE_HZ)
            yield replace(u, id=path.stem, audio=str(path), start_s=0.0, duration_s=len(heard) / RATE_HZ, extra={})
