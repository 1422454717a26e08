"""A net over the states of `korean_sat` without adaptation to speakers: run that experiment first."""

from recipes.korean.korean_dnn import build
from recipes.korean.korean_sat import prepare

__all__ = ["build", "prepare"]
