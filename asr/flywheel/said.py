"""Texts of the log as they were spoken.

A service may answer "$5" where "five dollars" was said, corrections of such answers are written likewise, and
transcripts are as `asr text clean` writes them. Answers and transcripts are compared as they are spoken.
"""

from asr.text.clean import LANGUAGES
from asr.text.spoken import spoken


def said(text: str, language: str | None) -> str:
    """`text` with numbers, amounts and abbreviations in words; unchanged in a language without rules for them."""
    return spoken(text, language) if language in LANGUAGES else text
