"""The recogniser of `english` without a teacher: it transcribes strangers for its own next training.

Two readers and one prompt speaker are transcribed, 248 other readers are not. A first net is trained on the former and
hears the latter; the utterances of which it is sure join the training set of a second net, which starts from Whisper's
encoder again. Eight of TIMIT's speakers are part of dev, so scales and confidences are those for strangers; the
other eight are a test set.
"""

from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.manifest import Utterance
from recipes.encoders import fetch_whisper_base
from recipes.english.prepare import DEV, LANGUAGE, read, write_lexicon

SURE = 0.8  # mean confidence of the words of an utterance that joins the training set


def prepare(cfg: Config) -> str:
    """Write `{known,train,dev,test,strangers,timit_en}.jsonl` and `lexicon.txt` in `cfg.data.dir`; `build` replaces
    `train.jsonl`, at first the transcribed speech as `known.jsonl`."""
    if not (LANGUAGE / "lm.arpa").exists():
        raise InputError(f"{LANGUAGE}/lm.arpa is missing; run `python -m recipes.run english_import` first")
    fetch_whisper_base()
    out, root = Path(cfg.data.dir), cfg.data.root
    books, prompts, timit = (read(name, root) for name in ("libri_en", "prompts_en", "timit_en"))
    held, tested = halves(timit)
    dev = [u for u in books if u.extra["chapter"] in DEV] + [u for u in prompts if u.extra["split"] == "dev"] + held
    held_out = {u.id for u in dev}
    known = [u for u in [*books, *prompts] if u.extra["split"] == "train" and u.id not in held_out]
    sets = {"known": known, "train": known, "dev": dev, "timit_en": tested}
    sets |= {"test": [u for u in books if u.extra["split"] == "dev"], "strangers": read("libri_en_untranscribed", root)}
    for name, utterances in sets.items():
        manifest.write(out / f"{name}.jsonl", [replace(u, extra={}) for u in utterances])
    write_lexicon(out, [*known, *dev])
    names = ("libri_en", "prompts_en", "timit_en", "libri_en_untranscribed")
    return f"real speech: {', '.join(str(corpora.find(name, root)) for name in names)}"


def halves(utterances: list[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Those of every second speaker, and those of the others."""
    second = sorted({u.speaker or "" for u in utterances})[1::2]
    return [u for u in utterances if u.speaker in second], [u for u in utterances if u.speaker not in second]


def build(recipe: Recipe) -> None:
    """Both nets with scales and confidences, each tested on the books and on TIMIT, and a bundle of the second."""
    data, first = Path(recipe.cfg.data.dir), f"{recipe.cfg.out}/first"
    known, strangers = data / "known.jsonl", data / "strangers.jsonl"
    train_and_test(recipe, first, known)
    recipe("decode", str(strangers), f"out={first}", f"data.dir={data}")
    heard = f"{first}/decode/strangers/hyp.jsonl"
    recipe("data label", heard, str(known), str(strangers), f"output={recipe.cfg.data.train}", f"min_confidence={SURE}")
    train_and_test(recipe, recipe.cfg.out, Path(recipe.cfg.data.train))
    recipe("bundle")
    print("The recogniser is one file:", recipe.cfg.bundle)


def train_and_test(recipe: Recipe, out: str, train: Path) -> None:
    folders = (f"out={out}", f"data.dir={recipe.cfg.data.dir}")
    recipe("train", *folders, f"data.train={train}")
    for verb in ("graph", "tune", "calibrate", "decode", "score"):
        recipe(verb, *folders)
    test = f"{recipe.cfg.data.dir}/timit_en.jsonl"
    recipe("decode", test, *folders)
    recipe("score", f"ref={test}", f"hyp={out}/decode/timit_en/hyp.jsonl", f"out={out}", f"dir={out}/score/timit_en")
