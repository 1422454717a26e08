"""Phones of TIMIT's sentences, of speakers left out of the training: the phone error rate over 39 phones.

NLTK's sample of TIMIT has 16 speakers with hand-made phone labels. `fold=0` to `3` leaves four of them out to test on,
and takes the next two for dev. The two sentences that all speakers read (sa1, sa2) are left out of all sets, as usual.
TIMIT's 61 labels are folded to 39 phones, silence and closures being one of them and glottal stops none (Lee and Hon,
"Speaker-independent phone recognition using hidden Markov models", 1989). Each phone is a word of the language model
and the score, so the WER that is printed is the phone error rate. The net starts from that of the recipe `english`.
"""

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated

from asr import manifest
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon

FOLDS = 4
Fold = Annotated[str, "0 to 3: which four of the 16 speakers are tested"]
START = Path("exp/english/model.asr")
SILENCE = "SIL"
FOLDED = {
    "ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m", "en": "n",
    "nx": "n", "eng": "ng", "zh": "sh", "ux": "uw", "q": None,
    **dict.fromkeys(("pcl", "tcl", "kcl", "bcl", "dcl", "gcl", "h#", "pau", "epi"), SILENCE),
}  # fmt: skip


def prepare(cfg: Config, fold: Fold = "0") -> str:
    """Write `{train,dev,test}.jsonl`, `lm.txt` and `lexicon.txt` in `cfg.data.dir`."""
    if not START.exists():
        raise InputError(f"{START} is missing; run `python -m recipes.run english` first")
    return write_sets(cfg, fold)


def write_sets(cfg: Config, fold: str, unwritten: str | None = None) -> str:
    """What `prepare` writes. `unwritten`: a phone that is left out of the texts."""
    if fold not in map(str, range(FOLDS)):
        raise InputError(f"fold={fold} must be one of 0 to {FOLDS - 1}")
    folder = corpora.find("timit_en", cfg.data.root)
    if folder is None:
        raise InputError("no corpus timit_en: set data.root to a folder that holds timit_en/manifest.jsonl")
    out = Path(cfg.data.dir)
    read = [u for u in manifest.read(folder / "manifest.jsonl") if not u.id.endswith(("sa1", "sa2"))]
    splits = split_speakers(sorted({str(u.speaker) for u in read}), int(fold))
    sets = {
        name: [replace(u, text=fold_phones(u, unwritten), extra={}) for u in read if u.speaker in splits[name]]
        for name in splits
    }
    for name, utterances in sets.items():
        manifest.write(out / f"{name}.jsonl", utterances)
    with atomic_write(out / "lm.txt") as file:
        file.writelines(f"{u.text}\n" for u in sets["train"])
    phones = sorted({phone for utterances in sets.values() for u in utterances for phone in u.transcript.split()})
    Lexicon({phone: [(phone,)] for phone in phones}).write(out / "lexicon.txt")
    return f"real speech: {folder}, with {', '.join(sorted(splits['test']))} left out"


def split_speakers(speakers: list[str], fold: int) -> dict[str, set[str]]:
    """Every fourth speaker to test on, and the two that follow the first of them for dev."""
    test = set(speakers[fold::FOLDS])
    others = [s for s in speakers if s not in test]
    dev = set(others[fold * 2 : fold * 2 + 2])
    return {"train": set(others) - dev, "dev": dev, "test": test}


def fold_phones(u: Utterance, unwritten: str | None = None) -> str:
    """The labels of an utterance folded to 39 phones; neighbouring silences are one. `unwritten` is left out."""
    phones = [FOLDED.get(label, label) for _, _, label in u.extra["phones"]]
    named = [phone.upper() for phone in phones if phone is not None]
    once = [p for phone, same in groupby(named) for p in ([phone] if phone == SILENCE else same)]
    return " ".join(phone for phone in once if phone != unwritten)
