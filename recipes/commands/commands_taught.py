"""The net of `commands`, trained further with 248 strangers, whom the recogniser of `english_self` has transcribed.

That recogniser stands on Whisper's encoder; this net keeps its own size and needs no encoder.
"""

from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.config import Config, G2pConfig
from asr.data.extract import record_path
from asr.errors import InputError
from asr.features import recorded
from asr.features.frontend import FrontEnd
from asr.files import atomic_write
from asr.g2p.pronunciation import pronunciations
from asr.text.lexicon import Lexicon
from recipes.commands.prepare import Rooms, build, heard_copies, read, with_sound

__all__ = ["build", "prepare"]
TAUGHT = Path("exp/commands/data")  # what the net has been trained on
TRANSCRIBED = Path("exp/english_self/data/train.jsonl")
COPIES = 2  # of each utterance, each in another room


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`, and the features of the strangers.
    Those of the other utterances stay where `commands` has stored them."""
    for path, run in ((TAUGHT, "commands"), (TRANSCRIBED, "english experiment=english_self")):
        if not path.exists():
            raise InputError(f"{path} is missing; run `python -m recipes.run {run}` first")
    out, root = Path(cfg.data.dir), cfg.data.root
    features = replace(cfg.features, kind="logmel")
    for name in ("train", "dev", "test"):
        recorded.record(features, record_path(out / f"{name}.jsonl"))
    ids = {u.id for u in read("libri_en_untranscribed", root)}
    strangers = [u for u in manifest.read(TRANSCRIBED) if u.id in ids]
    new = heard_copies("stranger", COPIES, with_sound(strangers), Rooms(root, FrontEnd(features)), out / "train")
    for name, added in (("train", new), ("dev", []), ("test", [])):
        manifest.write(out / f"{name}.jsonl", [*manifest.read(TAUGHT / f"{name}.jsonl"), *added])
    known = Lexicon.read(TAUGHT / "lexicon.txt").pronunciations
    words = sorted({word for u in new for word in u.transcript.split()} | set(known))
    Lexicon(pronunciations(words, "phone", known, G2pConfig())).write(out / "lexicon.txt")
    with atomic_write(out / "lm.txt") as file:
        file.write((TAUGHT / "lm.txt").read_text(encoding="utf-8"))
        file.writelines(u.text + "\n" for u in new if u.text)
    return "real speech (also strangers as a recogniser has heard them) and SYNTHETIC speech; tested on real speech"
