"""Korean talks, read dialogues and acted sentences in one recogniser, 4.5 hours to train on.

The corpora: Pansori-TEDxKR (openslr.org/58, CC BY-NC-ND 4.0), the sample of Deeply Korean read speech (CC BY-NC-ND 4.0)
and the sentences of the open database of emotional speech (CC BY-NC-SA 4.0). Models are for measuring.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.cli.recipe import VERBS, Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.manifest import Utterance
from recipes.encoders import fetch_whisper_base
from recipes.korean.texts import as_spoken, sentences, write_lines

CORPORA = ("pansori", "korean_read", "korean_dialog")
SPLITS = ("train", "dev", "test")


def prepare(cfg: Config) -> str:
    """The three corpora together, and the test set of each in `data.dir/CORPUS.jsonl`; see `prepare_corpora`."""
    source = prepare_corpora(cfg, CORPORA)
    for name in CORPORA:
        manifest.write(Path(cfg.data.dir) / f"{name}.jsonl", read(name, "test", cfg.data.root))
    return source


def build(recipe: Recipe) -> None:
    """The usual verbs, and then each test set on its own."""
    build_corpus(recipe)
    score_corpora(recipe)


def score_corpora(recipe: Recipe) -> None:
    for name in CORPORA:
        test, hyp = f"{recipe.cfg.data.dir}/{name}.jsonl", f"{recipe.cfg.out}/decode/{name}/hyp.jsonl"
        recipe("decode", test)
        recipe("score", f"ref={test}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score/{name}")


def build_corpus(recipe: Recipe, ngrams: int | None = None, train: str = VERBS[0]) -> None:
    """The usual verbs, with the language models of `build_lm`. `train`: the verb that trains."""
    for verb in (train, *VERBS[1:]):
        if verb == "lm train":
            build_lm(recipe, ngrams)
        else:
            recipe(verb)


def build_lm(recipe: Recipe, ngrams: int | None) -> None:
    """The language model of written text, mixed with that of the training transcripts, and the Whisper that ranks
    readings anew, if the experiment names a file for it. `ngrams`: how many of them are kept; None: all."""
    cfg = recipe.cfg
    written, own = (f"{cfg.out}/{name}.arpa" for name in ("written", "own"))
    recipe("lm train", f"lm.arpa={written}")
    recipe("lm train", f"lm.arpa={own}", f"lm.text=[{cfg.data.train}]", "lm.prune=[]")
    mixed = f"{cfg.out}/mixed.arpa" if ngrams else cfg.lm.arpa
    recipe("lm mix", written, own, f"output={mixed}")
    if ngrams:
        recipe("lm prune", f"arpa={mixed}", f"size={ngrams}", f"output={cfg.lm.arpa}")
    if cfg.decoder.rescore:
        texts = f"lm.text=[{cfg.data.dir}/lm.txt,{cfg.data.train}]"
        recipe("lm convert", str(cfg.features.encoder), cfg.decoder.rescore, "lm.lang=ko", texts)


def prepare_corpora(cfg: Config, names: Sequence[str]) -> str:
    """Write `{train,dev,test}.jsonl` (the corpora's own splits) and `lm.txt` in `cfg.data.dir`.

    `lm.txt` has the texts in the folder `text_ko` but for the sentences of dev and test. All texts are brought into the
    form that is spoken: numbers in words, no punctuation.
    """
    if cfg.features.kind == "pretrained":
        fetch_whisper_base()
    out, root = Path(cfg.data.dir), cfg.data.root
    sets = {split: [u for name in names for u in read(name, split, root)] for split in SPLITS}
    for split, utterances in sets.items():
        manifest.write(out / f"{split}.jsonl", utterances)
    texts = corpora.find("text_ko", root)
    if texts is None:
        raise InputError("no folder 'text_ko' with *.txt.xz; name the folder above it with data.root=...")
    held_out = {u.transcript for split in ("dev", "test") for u in sets[split]}
    write_lines(out / "lm.txt", sentences(sorted(texts.glob("*.txt.xz")), held_out))
    return f"real speech: {', '.join(str(corpora.find(name, root)) for name in names)}"


def read(name: str, split: str, root: str | None) -> list[Utterance]:
    """A split of a corpus; ids begin with its name. Raises InputError if the corpus is not found."""
    folder = corpora.find(name, root)
    if folder is None:
        raise InputError(
            f"no folder '{name}' with a manifest.jsonl; get the corpus, make its manifest with `asr data import`, and "
            "name the folder above it with data.root=..."
        )
    utterances = manifest.read(folder / "manifest.jsonl")
    return [
        replace(u, id=f"{name}-{u.id}", text=as_spoken(u.transcript), extra={})
        for u in utterances
        if u.extra["split"] == split
    ]
