"""Everyday sentences whose written form was once wrong, by kind."""

import pytest

from asr.text.written import written

ENGLISH = [
    ("between one hundred and two hundred", "between 100 and 200"),  # not 102 hundred
    ("a hundred and two hundred people", "a hundred and 200 people"),
    ("a hundred and fifty dollars", "$150"),
    ("a thousand five hundred dollars", "$1,500"),
    ("half a million five dollar bills", "half a million $5 bills"),
    ("a twenty second delay", "a 20 second delay"),
    ("thirty second timeout", "30 second timeout"),
    ("on the twenty second of april", "on the 22nd of April"),
    ("forty second street", "42nd street"),
    ("number ten won the race", "number 10 won the race"),
    ("five thousand won", "₩5,000"),
    ("in the u s i think", "in the US i think"),
    ("at five p m i went", "at 5 p.m. i went"),
    ("i am a u s citizen", "i am a US citizen"),
    ("july four nineteen seventy six", "July 4, 1976"),
    ("version one point two point three", "version 1.2.3"),
    ("room two oh two", "room 202"),
    ("email me at gmail dot com", "email me at gmail.com"),
    ("at this point five percent is enough", "at this point 5% is enough"),
    ("in twenty twenty ten percent of us", "in 2020 10% of us"),
]
ENGLISH_KEPT = (
    "two fifty dollars|nineteen ninety nine dollars and ninety nine cents|bake at three fifty degrees|"
    "in ten fifteen minutes|two or three hundred people|ten to twenty thousand dollars|two to three hundred kilometers|"
    "the point one must make|at that point two people left|i figure one of us knows|"
    "x minus five|the dot com bubble|one third party|the team five won"
)


@pytest.mark.parametrize("said,form", ENGLISH)
def test_english(said: str, form: str) -> None:
    assert written(said, "en") == form


@pytest.mark.parametrize("said", ENGLISH_KEPT.split("|"))
def test_english_that_stays(said: str) -> None:
    assert written(said, "en") == said
