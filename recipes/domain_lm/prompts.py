"""The same in English: the prompts of a telephone system, one professional voice.

The net is that of the recipe english, which knows the voice; the general language model is that of english_import. The
domain's text is that of the prompts' training set, 443 sentences. Readers of LibriSpeech and TIMIT are the speech
outside the domain.
"""

from pathlib import Path

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.errors import InputError
from recipes.domain_lm.prepare import decode_with, report
from recipes.english.prepare import read
from recipes.korean.texts import write_lines

ENGLISH = Path("exp/english")  # the run whose net, tokens and scales are used
SETS = ("prompts", "books", "timit")


def prepare(cfg: Config) -> str:
    """Write `{prompts,books,timit}.jsonl`, `lm.txt` and `domain_dev.txt` in `cfg.data.dir`."""
    if not (ENGLISH / "model.asr").exists():
        raise InputError(f"{ENGLISH}/model.asr is missing; run `python -m recipes.run english` first")
    out, root = Path(cfg.data.dir), cfg.data.root
    spoken = read("prompts_en", root)
    prompts = {split: [u for u in spoken if u.extra["split"] == split] for split in ("train", "dev", "test")}
    books = [u for u in read("libri_en", root) if u.extra["split"] == "dev"]
    for name, utterances in zip(SETS, (prompts["test"], books, read("timit_en", root)), strict=True):
        manifest.write(out / f"{name}.jsonl", utterances)
    tested = {u.transcript for u in prompts["test"]}
    write_lines(out / "lm.txt", (u.transcript for u in prompts["train"] if u.transcript not in tested))
    write_lines(out / "domain_dev.txt", (u.transcript for u in prompts["dev"] if u.transcript not in tested))
    return "real speech of prompts_en, libri_en and timit_en"


def build(recipe: Recipe) -> None:
    """The general language model adapted, a graph of each, and every test set with both."""
    out, data, general = Path(recipe.cfg.out), Path(recipe.cfg.data.dir), recipe.cfg.lm.arpa
    recipe("lm adapt", f"base={general}", f"text=[{data}/lm.txt]", f"dev={data}/domain_dev.txt",
           f"output={out}/local.arpa")  # fmt: skip
    decode_with(recipe, "general", general, ENGLISH, SETS)
    decode_with(recipe, "local", f"{out}/local.arpa", ENGLISH, SETS)
    recipe("bundle", f"out={ENGLISH}", f"graph.dir={out}/local", f"bundle={recipe.cfg.bundle}")
    report(recipe.cfg, SETS, "wer")
