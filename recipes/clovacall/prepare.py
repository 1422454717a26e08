"""ClovaCall: 50 hours of calls to restaurants, github.com/clovaai/ClovaCall; meant for a GPU.

The corpus is expected as it is distributed, in a folder `ClovaCall`:

    train_ClovaCall.json, test_ClovaCall.json   [{"wav": "42_0603_748_0_03319_00.wav", "text": ..., "speaker_id": ...}]
    raw/*.wav                                   the recordings
    clean/*.wav                                 the same without silences

A `.wav` without a header is read as the authors' code does: 16 bit, 16 kHz.
"""

from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm

from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.literals import parse_json
from asr.manifest import Utterance
from recipes.korean.texts import as_flac, as_spoken, hold_out, write_lm_text, write_set

SOUNDS = ("raw", "clean")
FIELDS = {"wav", "text", "speaker_id"}


def prepare(cfg: Config, sound: Annotated[str, "which recordings, clean or raw"] = "clean") -> str:
    """Write `{train,dev,test}.jsonl` and `lm.txt` in `cfg.data.dir`.

    The corpus has no dev set: one in twenty of its training speakers is held out.
    """
    if sound not in SOUNDS:
        raise InputError(f"sound={sound}: expected one of {', '.join(SOUNDS)}")
    corpus = corpora.find("ClovaCall", cfg.data.root)
    if corpus is None:
        raise InputError(
            "no folder 'ClovaCall'; ask for the corpus at github.com/clovaai/ClovaCall, and name the folder above it "
            "with data.root=..."
        )
    out = Path(cfg.data.dir)
    train, dev = hold_out(read_part(corpus, "train", sound, out / "audio"))
    for split, utterances in {
        "train": train,
        "dev": dev,
        "test": read_part(corpus, "test", sound, out / "audio"),
    }.items():
        write_set(out, split, utterances)
    write_lm_text(out, cfg.data.root)
    return f"real speech: ClovaCall in {corpus}, {sound}"


def read_part(corpus: Path, part: str, sound: str, flacs: Path) -> list[Utterance]:
    """The utterances of `train` or `test`. Those whose recording cannot be read are named and set aside."""
    path = corpus / f"{part}_ClovaCall.json"
    utterances = []
    for place, row in enumerate(tqdm(read_rows(path), desc=part, unit="utt"), 1):
        wav = corpus / sound / row["wav"]
        try:
            recording, duration_s = open_wav(wav, flacs / f"{wav.stem}.flac")
        except InputError as e:
            tqdm.write(f"set aside {path}, item {place}: {e}")
            continue
        text, speaker = as_spoken(row["text"]), row["speaker_id"]
        utterances.append(Utterance(wav.stem, str(recording), None, 0.0, duration_s, text, speaker, "ko"))
    if not utterances:
        raise InputError(f"none of the recordings of {path} can be read; see above")
    return utterances


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Raises InputError naming the item that lacks a field or has one that is not text."""
    try:
        rows = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}") from e
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of objects with {', '.join(sorted(FIELDS))}")
    for place, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in FIELDS):
            raise InputError(f"{path}, item {place}: expected an object with the texts {', '.join(sorted(FIELDS))}")
    return rows


def open_wav(wav: Path, flac: Path) -> tuple[Path, float]:
    """A recording that can be read, and its seconds; headerless samples are written to `flac`."""
    try:
        with open(wav, "rb") as file:
            has_header = file.read(4) == b"RIFF"
    except OSError as e:
        raise InputError(f"cannot read {wav}: {e.strerror}") from e
    return (wav, audio.info(wav).duration_s) if has_header else (flac, as_flac(wav, flac))
