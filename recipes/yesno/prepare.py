"""Yes and no in Hebrew by one speaker, eight words per recording: done in half a minute.

A sixth of the training recordings is dev. The file name is the text: 1_0_0_1_... The lexicon holds the phones that are
spoken: ken for yes, lo for no.
"""

from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from recipes import DOWNLOADS

SOURCE = "http://www.openslr.org/resources/1/waves_yesno.tar.gz"
DIGEST = "sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73"
DEV_EVERY = 6  # every sixth training recording


def list_recordings(root: str | None) -> tuple[list[Utterance], str]:
    """All recordings, and a sentence that names their source.

    If the corpus gives no split, train is the first half of the sorted names, as in Kaldi's recipe.
    """
    if folder := corpora.find("yesno", root):
        return manifest.read(folder / "manifest.jsonl"), f"real speech: the yesno set in {folder}"
    folder = corpora.fetch(SOURCE, DIGEST, DOWNLOADS / "yesno")
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
    return utterances, f"real speech: the yesno set, downloaded to {folder}"


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    out = Path(cfg.data.dir)
    utterances, source = list_recordings(cfg.data.root)
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for u in utterances:
        splits[u.extra["split"]].append(u)
    splits["dev"] = [replace(u, extra={"split": "dev"}) for u in splits["train"][::DEV_EVERY]]
    del splits["train"][::DEV_EVERY]
    for split, chosen in splits.items():
        manifest.write(out / f"{split}.jsonl", chosen)
    Lexicon({"yes": [["K", "EH", "N"]], "no": [["L", "OW"]]}).write(out / "lexicon.txt")
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript + "\n" for u in splits["train"])
    return source
