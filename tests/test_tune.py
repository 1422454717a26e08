"""The climb over the grid of the decoder's options, against decoding every point."""

from itertools import product
from math import dist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.evaluation.score import Counts
from asr.evaluation.tune import ACOUSTIC_SCALES, BLANK_PENALTIES, PIECE_PENALTIES, WORD_PENALTIES, Point, Tuning, climb

whole = st.integers


@given(
    centre=st.tuples(whole(0, 7), whole(0, 6), whole(0, 5)),
    slopes=st.tuples(*[whole(1, 9)] * 3),
    words=st.sampled_from([WORD_PENALTIES, PIECE_PENALTIES]),
)
@settings(max_examples=100, deadline=None)
def test_climb_finds_the_best_of_all_points_where_errors_have_one_valley(centre, slopes, words):
    axes = (ACOUSTIC_SCALES, words, BLANK_PENALTIES)

    def decode(*values):
        steps = [axis.index(v) - c for axis, v, c in zip(axes, values, centre, strict=True)]
        return Point(*values, Counts(substitutions=sum(s * abs(d) for s, d in zip(slopes, steps, strict=True))))

    points = climb(axes, decode)
    everything = sorted((decode(*v) for v in product(*axes)), key=lambda p: (p.counts.errors, p.distance))
    assert points[0] == everything[0]
    assert points == sorted(points, key=lambda p: (p.counts.errors, p.distance))
    assert len({(p.acoustic_scale, p.word_penalty, p.blank_penalty) for p in points}) == len(points) <= 80


@pytest.mark.parametrize(("words", "wanted"), [(WORD_PENALTIES, (2.8, 3.0, 0.0)), (PIECE_PENALTIES, (1.0, -6.0, 2.0))])
def test_climb_finds_what_lies_beyond_the_usual_values(words, wanted):
    """As recipes found by hand: a scale above 2, a penalty below -5."""

    def decode(*at):
        return Point(*at, Counts(substitutions=round(10 * dist(at, wanted))))

    best = climb((ACOUSTIC_SCALES, words, BLANK_PENALTIES), decode)[0]
    assert (best.acoustic_scale, best.word_penalty, best.blank_penalty) == wanted


def test_climb_leaves_the_low_scales_alone_if_the_defaults_are_best():
    decoded = []

    def decode(*values):
        decoded.append(values[0])
        return Point(*values, Counts(substitutions=3))

    assert climb((ACOUSTIC_SCALES, WORD_PENALTIES, BLANK_PENALTIES), decode)[0].distance == 0
    assert len(decoded) == 6 and min(decoded) == 0.7


@pytest.mark.parametrize("axes", [((2.0,), (1.0,), (0.0,)), ((0.5, 2.0), (3.0,), (1.0,))])
def test_climb_takes_grids_without_the_defaults(axes):
    assert climb(axes, lambda *values: Point(*values, Counts())).pop(0).word_penalty == axes[1][0]


def test_a_plateau_around_the_best_point_is_told():
    axes = (ACOUSTIC_SCALES, WORD_PENALTIES, (0.0,))
    flat = Tuning(climb(axes, lambda *values: Point(*values, Counts(correct=9, substitutions=3))), None, 4)
    assert "dev does not tell which values are best" in (flat.warning() or "") and "word_penalty" in flat.table()
    plateau = climb(axes, lambda *at: Point(*at, Counts(correct=9, substitutions=3 if at[0] < 2 else 5)))
    assert "does not tell" in (Tuning(plateau, None, 4).warning() or "")
    sloped = climb(axes, lambda *at: Point(*at, Counts(correct=9, substitutions=3 + (at[1] > 0))))
    assert Tuning(sloped, None, 4).warning() is None
    assert Tuning(climb(axes, lambda *at: Point(*at, Counts(correct=9))), None, 4).warning() is None  # no errors at all
    alone = climb(((1.0,), (0.0,), (0.0,)), lambda *at: Point(*at, Counts(correct=9, substitutions=3)))
    assert Tuning(alone, None, 4).warning() is None  # one point, as asked for
