"""A net over the states of `korean_sat`: run that experiment first. The features are those of `korean_adapted`."""

from recipes.korean.korean_adapted import build, prepare

__all__ = ["build", "prepare"]
