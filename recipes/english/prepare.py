"""English phones on Whisper's encoder: readers, prompts, and speakers whom another model transcribed.

The recogniser of the recipe english_import transcribes 248 speakers; utterances of which it is sure are trained on.
The language model and its texts are those of that recipe, too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

import asr
from asr import manifest
from asr.cli.recipe import VERBS, Recipe
from asr.config import Config, G2pConfig
from asr.data import corpora
from asr.errors import InputError
from asr.g2p.pronunciation import guesser
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.lexicon import Lexicon
from asr.text.spoken import spoken
from recipes.encoders import fetch_whisper_base

TEACHER = Path("exp/english_import")
DEV = ("496",)  # chapters of libri_en
SURE = 0.8  # mean confidence of the words of an utterance without transcript that is trained on
PAD_S = 0.5  # of quiet noise around clips of single words: 76 instead of 63 % of fsdd's digits right
OTHERS = ("timit_en", "commands_en")  # further test sets


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `timit_en.jsonl`, `commands_en.jsonl` and `lexicon.txt` in `cfg.data.dir`."""
    if not (TEACHER / "model.asr").exists():
        raise InputError(f"{TEACHER}/model.asr is missing; run `python -m recipes.run english_import` first")
    fetch_whisper_base()
    out, root = Path(cfg.data.dir), cfg.data.root
    books, prompts = read("libri_en", root), read("prompts_en", root)
    dev = [u for u in books if u.extra["chapter"] in DEV] + [u for u in prompts if u.extra["split"] == "dev"]
    chosen = {u.id for u in dev}
    known = [u for u in [*books, *prompts] if u.extra["split"] == "train" and u.id not in chosen]
    heard = transcribe(read("libri_en_untranscribed", root), out / "transcribed.jsonl")
    sure = [u for u in heard if u.text and u.extra["confidence"] >= SURE]
    manifest.write(out / "train.jsonl", [replace(u, extra={}) for u in [*known, *sure]])
    manifest.write(out / "dev.jsonl", dev)
    manifest.write(out / "test.jsonl", [u for u in books if u.extra["split"] == "dev"])
    for name in OTHERS:
        manifest.write(out / f"{name}.jsonl", [replace(u, extra={}) for u in read(name, root)])
    words = {word for u in [*known, *dev, *sure] for word in u.transcript.split()}
    words.update((TEACHER / "data/vocabulary.txt").read_text(encoding="utf-8").split())
    Lexicon.cmudict(sorted(words), guesser(G2pConfig())).write(out / "lexicon.txt")
    return f"real speech: {', '.join(str(corpora.find(name, root)) for name in ('libri_en', 'prompts_en', *OTHERS))}"


def build(recipe: Recipe) -> None:
    """The usual verbs but for the language model, then TIMIT's sentences, and a bundle for word lists."""
    for verb in VERBS:
        if verb != "lm train":
            recipe(verb)
    test, hyp = f"{recipe.cfg.data.dir}/timit_en.jsonl", f"{recipe.cfg.out}/decode/timit_en/hyp.jsonl"
    recipe("decode", test)
    recipe("score", f"ref={test}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score/timit_en")
    recipe("bundle", "graph.kind=none", f"decoder.pad_s={PAD_S}", f"bundle={recipe.cfg.out}/words.asr")


def read(name: str, root: str | None) -> list[Utterance]:
    """A corpus with its texts as they are spoken. Raises InputError if it is not found."""
    folder = corpora.find(name, root)
    if folder is None:
        raise InputError(f"no corpus {name}: set data.root to a folder that holds {name}/manifest.jsonl")
    utterances = manifest.read(folder / "manifest.jsonl")
    return [u if u.text is None else replace(u, text=clean(spoken(u.text, "en"), "en")) for u in utterances]


def transcribe(utterances: list[Utterance], path: Path) -> list[Utterance]:
    """The utterances with the teacher's texts and the mean confidence of their words; `path` keeps them."""
    if not path.exists():
        teacher, rows = asr.load(TEACHER / "model.asr"), []
        for u in tqdm(utterances, desc="transcribe", unit="utt"):
            found = teacher.transcribe(str(u.audio))
            confidence = float(np.mean([word.confidence for word in found.words])) if found.words else 0.0
            rows.append(replace(u, text=found.text, extra={"confidence": round(confidence, 3)}))
        manifest.write(path, rows)
    return manifest.read(path)
