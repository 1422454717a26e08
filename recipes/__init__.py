"""Recipes: one folder per corpus, run by `python -m recipes.run NAME`.

A recipe holds `prepare.py`, `experiment/*.yaml` and `RESULTS.md`. It calls verbs and the public API; training and
decoding live in `asr`.
"""

from pathlib import Path

DOWNLOADS = Path(__file__).parents[1] / "data"  # corpora that recipes download or synthesise, shared by all runs
