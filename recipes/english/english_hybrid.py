"""A net over the states of `english_sat` without adaptation to speakers: run that experiment first."""

from recipes.english.english_scratch import prepare

__all__ = ["prepare"]
