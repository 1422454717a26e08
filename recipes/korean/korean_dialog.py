"""The corpus korean_dialog alone."""

from asr.cli.recipe import Recipe
from asr.config import Config
from recipes.korean.prepare import prepare_corpora


def prepare(cfg: Config) -> str:
    return prepare_corpora(cfg, ["korean_dialog"])


build = Recipe.build
