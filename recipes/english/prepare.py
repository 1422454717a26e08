"""English phones on Whisper's encoder: readers, prompts, and speakers whom another model transcribed.

The recogniser of the recipe english_import transcribes 248 speakers; utterances of which it is sure are trained on.
The times of its words cut some single words out of all utterances, so that the net also knows words said alone. The
language model and its texts are those of that recipe, too.
"""

from collections.abc import Iterator
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
SINGLE_WORDS, MARGIN_S = 3, 0.05  # cut out of each utterance, and how much around them
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
    heard = transcribe([*known, *read("libri_en_untranscribed", root)], out / "transcribed.jsonl")
    texts = {u.id: u.text for u in known}
    unknown = [u for u in heard if u.id not in texts and is_sure(u)]
    cut = cut_words([u for u in heard if u.text == texts.get(u.id, u.text)])
    manifest.write(out / "train.jsonl", [replace(u, extra={}) for u in [*known, *unknown, *cut]])
    manifest.write(out / "dev.jsonl", dev)
    manifest.write(out / "test.jsonl", [u for u in books if u.extra["split"] == "dev"])
    for name in OTHERS:
        manifest.write(out / f"{name}.jsonl", [replace(u, extra={}) for u in read(name, root)])
    words = {word for u in [*known, *dev, *unknown] for word in u.transcript.split()}
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
    recipe("bundle", "graph.kind=none", f"bundle={recipe.cfg.out}/words.asr")


def read(name: str, root: str | None) -> list[Utterance]:
    """A corpus with its texts as they are spoken. Raises InputError if it is not found."""
    folder = corpora.find(name, root)
    if folder is None:
        raise InputError(f"no corpus {name}: set data.root to a folder that holds {name}/manifest.jsonl")
    utterances = manifest.read(folder / "manifest.jsonl")
    return [u if u.text is None else replace(u, text=clean(spoken(u.text, "en"), "en")) for u in utterances]


def transcribe(utterances: list[Utterance], path: Path) -> list[Utterance]:
    """The utterances with the teacher's texts, and its words as (start_s, end_s, confidence); `path` keeps them."""
    if not path.exists():
        teacher, rows = asr.load(TEACHER / "model.asr"), []
        for u in tqdm(utterances, desc="transcribe", unit="utt"):
            found = teacher.transcribe(str(u.audio))
            times = [(round(w.start_s, 3), round(w.end_s, 3), round(w.confidence, 3)) for w in found.words]
            rows.append(replace(u, text=found.text, extra={"words": times}))
        manifest.write(path, rows)
    return manifest.read(path)


def is_sure(u: Utterance) -> bool:
    return bool(u.text) and float(np.mean([confidence for _, _, confidence in u.extra["words"]])) >= SURE


def cut_words(utterances: list[Utterance], count: int = SINGLE_WORDS) -> Iterator[Utterance]:
    """`count` randomly drawn words of each utterance, as utterances, if the teacher was sure of them."""
    rng = np.random.default_rng(1)
    for u in utterances:
        words = u.transcript.split()
        for i in sorted(rng.permutation(len(words))[:count]):
            start_s, end_s, confidence = u.extra["words"][i]
            if confidence >= SURE:
                begin_s = max(0.0, start_s - MARGIN_S)
                yield replace(
                    u, id=f"{u.id}-word{i}", text=words[i], start_s=begin_s, duration_s=end_s + MARGIN_S - begin_s
                )
