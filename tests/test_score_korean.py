"""Scores of Korean texts: against jiwer, brute force over all shortest alignments, and properties."""

import json
from itertools import combinations

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import Config
from asr.evaluation import report
from asr.evaluation.score import align, comparable, error_counts, lang_of, score
from asr.evaluation.spacing import Spaces, spaces, with_spaces
from asr.pipeline import score as score_files

VOWELS, FINALS = 21, 28
SYLLABLES = st.sampled_from("가나다간값")
TEXTS = st.lists(st.text(SYLLABLES, min_size=1, max_size=3), max_size=4).map(" ".join)
SHORT = st.lists(st.text(st.sampled_from("가나"), min_size=1, max_size=2), max_size=3).map(" ".join)
checked = settings(max_examples=150, deadline=None, derandomize=True)


def jamo_of(text):
    """By the arithmetic of the syllables in Unicode, with finals apart from initials."""
    units = []
    for c in text:
        code = ord(c) - 0xAC00
        initial, rest = divmod(code, VOWELS * FINALS)
        vowel, final = divmod(rest, FINALS)
        units += [f"i{initial}", f"v{vowel}", *([f"f{final}"] if final else [])]
    return units


def shortest_alignments(ref, hyp):
    """All paths of fewest errors, each a list of points (i, j)."""

    def paths(i, j):
        if i == len(ref) and j == len(hyp):
            return 0, [[(i, j)]]
        steps = []
        for di, dj in ((1, 1), (1, 0), (0, 1)):
            if i + di <= len(ref) and j + dj <= len(hyp):
                cost, tails = paths(i + di, j + dj)
                same = di and dj and ref[i] == hyp[j]
                steps.append((cost + (not same), [[(i, j), *tail] for tail in tails]))
        least = min(cost for cost, _ in steps)
        return least, [path for cost, found in steps if cost == least for path in found]

    return paths(0, 0)[1]


def places(text):
    return [len(text[:i].replace(" ", "")) for i, c in enumerate(text) if c == " "]


def most_pairs(path, ref_places, hyp_places):
    """The largest set of pairs of spaces on the path that uses each space once."""
    points = [point for point in path if point[0] in ref_places and point[1] in hyp_places]
    for size in range(len(points), 0, -1):
        for chosen in combinations(points, size):
            if len({i for i, _ in chosen}) == len({j for _, j in chosen}) == size:
                return size
    return 0


def respaced_along(path, ref, hyp):
    """The published rule, a character at a time: an equal character takes the mark of its partner."""
    r, h = ref.replace(" ", ""), hyp.replace(" ", "")
    begins = {0, *places(hyp)}
    for (i, j), (i2, j2) in zip(path, path[1:], strict=False):
        if (i2, j2) == (i + 1, j + 1) and r[i] == h[j]:
            begins.discard(j)
            begins |= {j} if i in {0, *places(ref)} else set()
    return "".join(" " * (j in begins) + c for j, c in enumerate(h)).strip()


@checked
@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS), min_size=1, max_size=5))
def test_rates_equal_jiwer(pairs):
    refs, hyps = (dict(enumerate(texts)) for texts in zip(*pairs, strict=True))
    result = score(refs, hyps, resamples=2)
    without = [[text.replace(" ", "") for text in texts.values()] for texts in (refs, hyps)]
    as_jamo = [[" ".join(jamo_of(text)) for text in texts] for texts in without]
    given_spaces = [with_spaces(ref, hyps[i]) for i, ref in refs.items()]
    assert result.lang == "ko"
    assert result.letters.rate == pytest.approx(jiwer.cer(*without))
    assert result.jamo.rate == pytest.approx(jiwer.wer(*as_jamo))
    assert result.respaced.rate == pytest.approx(jiwer.wer(list(refs.values()), given_spaces))
    assert [result.wer, result.cer] == [
        pytest.approx(rate(list(refs.values()), list(hyps.values()))) for rate in (jiwer.wer, jiwer.cer)
    ]


@checked
@given(SHORT, SHORT)
def test_spaces_are_those_of_a_shortest_alignment(ref, hyp):
    paths = shortest_alignments(ref.replace(" ", ""), hyp.replace(" ", ""))
    found = spaces(ref, hyp)
    assert (found.reference, found.found) == (ref.count(" "), hyp.count(" "))
    assert found.right in {most_pairs(path, places(ref), places(hyp)) for path in paths}
    assert with_spaces(ref, hyp) in {respaced_along(path, ref, hyp) for path in paths}


@checked
@given(st.text(SYLLABLES, max_size=8), st.data())
def test_spaces_of_equal_characters(text, data):
    """Then the alignment is known: precision and recall of sets of places."""

    def spaced():
        gaps = data.draw(st.sets(st.integers(1, len(text) - 1))) if len(text) > 1 else set()
        return "".join(" " * (i in gaps) + c for i, c in enumerate(text)), gaps

    (ref, right), (hyp, found) = spaced(), spaced()
    assert spaces(ref, hyp) == Spaces(len(right), len(found), len(right & found))
    assert (spaces(ref, hyp).f1 == 1) == (ref == hyp)
    assert with_spaces(ref, hyp) == ref
    assert error_counts(ref, hyp, "wer_without_spaces").errors == 0
    if right | found:
        share = [len(right & found) / max(len(of), 1) for of in (right, found)]
        assert spaces(ref, hyp).f1 == pytest.approx(2 * share[0] * share[1] / (sum(share) or 1))


@checked
@given(TEXTS, TEXTS, TEXTS.map(lambda text: text.replace(" ", "")), st.data())
def test_rates_without_spaces_do_not_depend_on_spaces(ref, hyp, other, data):
    moved = "".join(c + " " * data.draw(st.integers(0, 1)) for c in hyp.replace(" ", "")).strip()
    for rate in ("cer_without_spaces", "jamo"):
        assert error_counts(ref, hyp, rate) == error_counts(ref, moved, rate)
    jamo, letters = (error_counts(ref, other, rate).errors for rate in ("jamo", "cer_without_spaces"))
    assert (jamo == 0) == (letters == 0) and jamo <= 3 * letters
    assert with_spaces(ref, hyp).replace(" ", "") == hyp.replace(" ", "")
    assert spaces(ref, hyp).f1 == spaces(hyp, ref).f1 or ref.replace(" ", "") != hyp.replace(" ", "")


@checked
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_clean_texts_are_compared_as_they_are(texts):
    assert [comparable(text, "ko") for text in texts] == texts
    assert all(align(t.split(), comparable(t, "ko").split()) == align(t.split(), t.split()) for t in texts)


def test_korean_is_compared_without_punctuation_and_case():
    refs, hyps = {"a": "안녕하세요, OK입니다."}, {"a": "안녕하세요 ok입니다"}
    assert score(refs, hyps).wer == 0 and score(refs, hyps, lang="none").wer == 1
    text = report.summary_text(score(refs, hyps))
    assert "jamo 0.00 % without spaces; spacing F1 100.00 %" in text and "without punctuation, in lower case" in text


def test_english_is_compared_as_it_is_unless_asked():
    refs, hyps = {"a": "Hello, world"}, {"a": "hello world"}
    result = score(refs, hyps)
    assert (result.wer, result.lang) == (0.5, "none") and "jamo" not in report.summary_text(result)
    assert score(refs, hyps, lang="en").wer == 0


@pytest.mark.parametrize(
    ("texts", "lang"), [(["KBS 뉴스"], "none"), (["KB 뉴스"], "ko"), (["12", ""], "none"), (["ㅋㅋ ok", "네"], "ko")]
)
def test_the_language_is_that_of_most_letters(texts, lang):
    assert lang_of(texts) == lang and lang_of(texts, "en") == "en"


def test_the_report_has_all_rates(tmp_path):
    (tmp_path / "ref.txt").write_text("a\t나는 학교에 간다.\n", encoding="utf-8")
    (tmp_path / "hyp.txt").write_text("a\t나는학교 간다\n", encoding="utf-8")
    cfg = Config(out=str(tmp_path))
    cfg.score.ref, cfg.score.hyp = str(tmp_path / "ref.txt"), str(tmp_path / "hyp.txt")
    score_files(cfg)
    found = json.loads((tmp_path / "score/score.json").read_text(encoding="utf-8"))
    assert found["wer"] == pytest.approx(2 / 3) and found["wer_without_spaces"] == pytest.approx(1 / 3)
    assert found["cer_without_spaces"] == pytest.approx(1 / 7) and found["cer"] == pytest.approx(2 / 9)
    assert found["jamo_error_rate"] == pytest.approx(2 / 17)
    assert found["spaces"] == {"reference": 2, "found": 1, "right": 1} and found["spacing_f1"] == pytest.approx(2 / 3)
    assert found["compared_as"] == "ko"


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_symbols_of_numbers_are_compared(lang):
    for one, other in (
        ("10%", "10"), ("-5도", "5도"), ("1/2", "12"), ("3:15", "315"), ("5~10", "510"), ("20°C", "20C"), ("$5", "5"),
        ("010-1234", "0101234"), ("½%", "½"), ("½", "1 2"),
    ):  # fmt: skip
        assert comparable(one, lang).replace(" ", "") != comparable(other, lang).replace(" ", "")
    for one, other in (
        ("10 %의", "10%의"), ("–5도", "-5도"), ("５％", "5%"), ("20℃", "20°C"), ("가-나/다: 라~", "가 나 다 라"),
        ("(-5)", "-5"), ("½%", "1/2%"), ("-½", "-1/2"), ("2½", "2 1/2"), ("1⁄2", "1/2"), ("10²", "10 2"),
        ("H₂O", "H2O"), ("m²", "m2"), ("½½", "1/2 1/2"),
        ("1,000%,", "1000%"), ("a - 5", "a 5"), ("5 -", "5"),
    ):  # fmt: skip
        assert comparable(one, lang) == comparable(other, lang)
    assert error_counts(comparable("10%", lang), comparable("10", lang), "cer_without_spaces").errors == 1


@checked
@given(st.text(st.sampled_from("19½² %-/⁄:~$°.,(가a"), max_size=12), st.sampled_from(["ko", "en"]))
def test_comparable_texts_stay(text, lang):
    assert comparable(comparable(text, lang), lang) == comparable(text, lang)
