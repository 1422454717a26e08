"""The yesno set: recordings of eight Hebrew words each, ken (yes) or lo (no), by one speaker; a sixth of train is dev.

The file name is the text: 1_0_0_1_... The lexicon says what is heard: ken, lo.
"""

from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon

SOURCE = "http://www.openslr.org/resources/1/waves_yesno.tar.gz"
DIGEST = "sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73"
DEV_EVERY = 6  # every sixth training recording


def list_recordings(root: str | None, cache: Path) -> list[Utterance]:
    """Every recording; train is the first half of the names in order, as in Kaldi's recipe, where no split is given."""
    if folder := corpora.find("yesno", root):
        return manifest.read(folder / "manifest.jsonl")
    folder = corpora.fetch(SOURCE, DIGEST, cache / "yesno")
    paths = sorted(folder.rglob("*_*_*.wav"))
    if not paths:
        raise InputError(f"{folder} holds no recordings named like 0_1_0_1_1_1_0_0.wav; delete it and run again")
    utterances = []
    for number, path in enumerate(paths):
        text = " ".join(("no", "yes")[int(digit)] for digit in path.stem.split("_"))
        split = "train" if number < len(paths) / 2 else "test"
        duration_s = audio.info(path).duration_s
        u = Utterance(path.stem, str(path), None, 0.0, duration_s, text, "global", "he", {"split": split})
        utterances.append(u)
    return utterances


def prepare(out: Path, root: str | None, cache: Path = Path("data")) -> None:
    """Write `out/{train,dev,test}.jsonl` `out/lexicon.txt` and `out/lm.txt`."""
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for u in list_recordings(root, cache):
        splits[u.extra["split"]].append(u)
    splits["dev"] = [replace(u, extra={"split": "dev"}) for u in splits["train"][::DEV_EVERY]]
    del splits["train"][::DEV_EVERY]
    for split, utterances in splits.items():
        manifest.write(out / f"{split}.jsonl", utterances)
    Lexicon({"yes": [["K", "EH", "N"]], "no": [["L", "OW"]]}).write(out / "lexicon.txt")
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.text + "\n" for u in splits["train"])
