"""The corpus korean_read alone."""

from asr.config import Config
from recipes.korean.prepare import build_corpus, prepare_corpora


def prepare(cfg: Config) -> str:
    return prepare_corpora(cfg, ["korean_read"])


build = build_corpus
