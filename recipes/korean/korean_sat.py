"""The three corpora, for HMMs that are adapted to each speaker: the start of the nets on adapted features.

Phones are letters (recipes.korean.letters), and the graph spells words by syllables.
"""

from pathlib import Path

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from recipes.korean import prepare as corpora
from recipes.korean.letters import letter_lexicon

NGRAMS = 350_000  # of 6 million


def prepare(cfg: Config) -> str:
    """As the recipe korean, and `data.dir/lexicon.txt`: words of train and dev, and all syllables."""
    source = corpora.prepare(cfg)
    out = Path(cfg.data.dir)
    texts = [u.transcript for split in ("train", "dev") for u in manifest.read(out / f"{split}.jsonl")]
    written = (out / "lm.txt").read_text(encoding="utf-8")
    letter_lexicon([*texts, " ".join(sorted({*written}))]).write(out / "lexicon.txt")
    return source


def build(recipe: Recipe) -> None:
    corpora.build_corpus(recipe, NGRAMS, "hmm train")
    corpora.score_corpora(recipe)
