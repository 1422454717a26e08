"""English words from one pip package: hama's phone recogniser imported, with our lexicon, LM and search.

hama (Apache-2.0, 8 MB) outputs IPA. No net is trained: the lexicon is hama's own spelling of each word, fitted on
transcribed speech, and the language model is a 4-gram of the texts in `text_en`. hama's training has probably heard the
readers of LibriSpeech; TIMIT's sentences are the honest test.
"""

from dataclasses import replace
from pathlib import Path

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.manifest import Utterance
from asr.text.clean import clean
from recipes import DOWNLOADS
from recipes.english_import.pronounce import fetch_hama
from recipes.english_import.texts import fetch_chat, write_language

SPEAKERS = {"train": "26", "dev": "19", "test": "27"}  # of libri_en: to fit the lexicon, to tune and calibrate, to test
VOCABULARY = 60_000


def read(name: str, root: str | None) -> list[Utterance]:
    """The utterances of a corpus with clean texts; none if it is not found."""
    folder = corpora.find(name, root) if root is None or (Path(root) / name).is_dir() else None
    if folder is None:
        return []
    return [replace(u, text=clean(u.transcript, "en")) for u in manifest.read(folder / "manifest.jsonl")]


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test,timit}.jsonl`, `lm.txt`, `vocabulary.txt` and `lexicon.txt` in `cfg.data.dir`.

    Without the folder `text_en` the language model is that of 2.3 million words of chat, which pip carries.
    """
    out, root = Path(cfg.data.dir), cfg.data.root
    books = read("libri_en", root)
    if not books:
        raise InputError(
            "no folder 'libri_en' with a manifest.jsonl; take the speakers 19, 26 and 27 of LibriSpeech's "
            "train-clean-100 (openslr.org/12), make their manifest with `asr data import`, and name the folder above "
            "it with data.root=... (a recogniser without tests needs no corpus: make demo-english)"
        )
    for split, speaker in SPEAKERS.items():
        manifest.write(out / f"{split}.jsonl", [u for u in books if u.speaker == speaker])
    if timit := read("timit_en", root):
        manifest.write(out / "timit.jsonl", timit)
    folder = corpora.find("text_en", root) if root is None or (Path(root) / "text_en").is_dir() else None
    texts = sorted(folder.glob("*.txt.xz")) if folder else []
    write_language(texts or [fetch_chat()], out, VOCABULARY, fetch_hama())
    source = f"the texts in {folder}" if texts else "chat of 2.3 million words, as no folder 'text_en' was found"
    return f"real speech: LibriSpeech{' and TIMIT' if timit else ''}; language model of {source}"


def build(recipe: Recipe) -> None:
    """Import, fit on the first speaker, calibrate on the second, score the third and then TIMIT's sentences."""
    recipe("import", str(DOWNLOADS / "hama"))
    recipe("lexicon fit", f"graph.lexicon={recipe.cfg.data.dir}/lexicon.txt", f"output={recipe.cfg.graph.lexicon}")
    for verb in ("lm train", "graph", "calibrate", "decode", "score", "bundle"):
        recipe(verb)
    timit, hyp = Path(recipe.cfg.data.dir) / "timit.jsonl", f"{recipe.cfg.out}/decode/timit/hyp.jsonl"
    if timit.exists():
        recipe("decode", str(timit))
        recipe("score", f"ref={timit}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score-timit")
