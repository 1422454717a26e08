"""KsponSpeech: 969 hours of Korean conversations, aihub.or.kr; meant for a GPU.

The corpus is expected as its archives unpack, in a folder `KsponSpeech`:

    KsponSpeech_01 ... KsponSpeech_05/KsponSpeech_0001/KsponSpeech_000001.pcm   headerless, 16 bit, 16 kHz
    KsponSpeech_eval/eval_clean/KsponSpeech_E00001.pcm, KsponSpeech_eval/eval_other/...
    scripts/train.trn, dev.trn, eval_clean.trn, eval_other.trn                  "<path of the pcm> :: <transcript>"

The `.txt` beside each recording (CP949) repeats the transcript and is not used.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from tqdm import tqdm

from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.ko import transcription
from recipes.korean.texts import as_flac, as_spoken, write_lm_text, write_set

SPLITS = {"train": "train", "dev": "dev", "test": "eval_clean", "test-other": "eval_other"}
NOTATIONS = ("spoken", "written")


def prepare(
    cfg: Config, notation: Annotated[str, "which side of (70%)/(칠십 퍼센트) is the text: spoken or written"] = "spoken"
) -> str:
    """Write `{train,dev,test,test-other}.jsonl`, `lm.txt` and the recordings as FLAC in `cfg.data.dir`.

    Fillers (`음/`), repeated words (`그+`) and unclear ones (`뭐*`) are words; marks of noises are removed. Utterances
    with unintelligible speech (`u/`) are left out of the training, as their texts lack what is said.
    """
    if notation not in NOTATIONS:
        raise InputError(f"notation={notation}: expected one of {', '.join(NOTATIONS)}")
    corpus = corpora.find("KsponSpeech", cfg.data.root)
    if corpus is None:
        raise InputError(
            "no folder 'KsponSpeech'; unpack the archives of aihub.or.kr in it, KsponSpeech_scripts.zip included, and "
            "name the folder above it with data.root=..."
        )
    out = Path(cfg.data.dir)
    for split, name in SPLITS.items():
        utterances = list(read_split(corpus, name, out / "audio", notation))
        if not utterances:
            raise InputError(f"none of the recordings of {corpus / 'scripts' / name}.trn can be read; see above")
        write_set(out, split, utterances)
    write_lm_text(out, cfg.data.root)
    return f"real speech: KsponSpeech in {corpus}, texts as {notation}"


def read_split(corpus: Path, name: str, folder: Path, notation: str) -> Iterator[Utterance]:
    """The utterances of a script. Those without recording, or with a malformed transcript, are named and set aside."""
    unclear = 0
    script = corpus / "scripts" / f"{name}.trn"
    for number, line in tqdm(enumerate(read_script(script), 1), desc=name, unit="utt"):
        pcm, mark, transcript = line.strip().partition(" :: ")
        if not mark or not pcm.endswith(".pcm"):
            raise InputError(f"{script}:{number}: {line.strip()!r}; expected '<path>.pcm :: <transcript>'")
        if name == "train" and "u/" in transcript:
            unclear += 1
            continue
        try:
            text = plain(transcript, notation)
            flac = folder / Path(pcm).with_suffix(".flac")
            duration_s = as_flac(corpus / pcm, flac)
        except InputError as e:
            tqdm.write(f"set aside {script}:{number}: {e}")
            continue
        yield Utterance(Path(pcm).stem, str(flac), None, 0.0, duration_s, text, None, "ko")
    if unclear:
        print(f"{name}: {unclear} utterances with unintelligible speech (u/) are left out")


def read_script(path: Path) -> list[str]:
    """The lines, in UTF-8 or CP949."""
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}; unpack KsponSpeech_scripts.zip as 'scripts'") from e
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return [line for line in raw.decode(encoding).splitlines() if line.strip()]
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path} is neither UTF-8 nor CP949")


def plain(transcript: str, notation: str = "spoken") -> str:
    """The words of a transcript. Raises InputError if it has other parentheses than those of two notations."""
    text = transcription.plain(transcript, notation == "spoken").replace("*", "")
    if "(" in text or ")" in text:
        raise InputError(f"parentheses in {transcript!r}; expected (written)/(spoken)")
    return as_spoken(text) if notation == "spoken" else clean(text, "ko")


def build(recipe: Recipe) -> None:
    """Build the recogniser, then score it on the second test set, eval_other."""
    recipe.build()
    other, hyp = f"{recipe.cfg.data.dir}/test-other.jsonl", f"{recipe.cfg.out}/decode/test-other/hyp.jsonl"
    recipe("decode", other)
    recipe("score", f"ref={other}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score-other")
