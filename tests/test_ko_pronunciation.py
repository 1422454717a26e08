"""Korean pronunciation: the regulation's own examples, the tables against the cascade, and properties."""

import itertools
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.cli import main as cli
from asr.config import G2pConfig
from asr.errors import InputError
from asr.g2p.pronunciation import pronunciations
from asr.lm.texts import sentences
from asr.text.ko import junctions, marks, morphemes, rules
from asr.text.ko.marks import marked
from asr.text.ko.phones import PHONES, phones
from asr.text.ko.pronunciation import in_hangul, pronounce, spoken
from asr.text.ko.syllables import COUNT, FIRST, VOWELS, parts
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

GOLD = [
    line.split("\t")
    for line in (Path(__file__).parent / "data" / "ko_pronunciation.tsv").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
# The regulation names two of the four forms that its rules give; the others have other readings as other words.
MORE = {"강의의": {"강의에", "강이의"}, "신고": {"신고"}, "잠자리": {"잠자리"}}
SYLLABLE = st.integers(FIRST, FIRST + COUNT - 1).map(chr)
_VOWELS = "ㅏㅓㅕㅖㅢㅣㅠ"
MARKED = st.lists(st.tuples(st.sampled_from(["", *rules.MARKS]), SYLLABLE), min_size=1, max_size=4).map(
    lambda pairs: "".join(itertools.chain(*pairs))[len(pairs[0][0]) :]
)


@pytest.mark.parametrize(("article", "written", "said"), GOLD)
def test_the_regulation(article: str, written: str, said: str) -> None:
    """The first form is the one that the regulation names first; the others are those that it permits."""
    permitted = said.split("/")
    readings = [reading.spoken for reading in pronounce(written, 16)]
    assert readings[0] == permitted[0] == spoken(written)
    assert set(readings) == {*permitted, *MORE.get(written, ())}


def test_the_list_of_examples_is_complete() -> None:
    assert len(GOLD) >= 400
    assert {article.split(".")[0] for article, *_ in GOLD} == {str(n) for n in {*range(5, 31)} - {8}}


@pytest.mark.parametrize("mark", ["", *rules.MARKS])
def test_the_tables_are_the_cascade(mark: str) -> None:
    """At all pairs of a coda and an initial, before vowels that take part in rules and one that does not in turn."""
    for coda, initial in itertools.product(range(28), range(19)):
        for vowel in (_VOWELS[(coda + initial) % 7], _VOWELS[(coda + 2 * initial + 3) % 7]):
            behind = FIRST + (initial * 21 + VOWELS.index(vowel)) * 28
            _equal(f"{chr(FIRST + coda)}{mark}{chr(behind)}")


@given(text=MARKED)
def test_the_tables_are_the_cascade_for_whole_texts(text: str) -> None:
    _equal(text)


def _equal(text: str) -> None:
    slow, fast = rules.rewrite(text), dict(junctions.readings(text, 1000))
    assert fast == pytest.approx(slow, abs=1e-5)
    assert slow[junctions.best(text)] == pytest.approx(max(slow.values()))


CLASSES = (*marks._CLASSES, *marks._GUESSED), (*marks._BETWEEN_WORDS, *marks._GUESSED_BETWEEN_WORDS)
TEXTS = Path(__file__).parents[2] / "shared/data/text_ko"


def slow_marks(text: str) -> str:
    """The text with the marks of all classes, each tried at each joint."""
    patterns = [
        (re.compile(f"(?:{'|'.join(f'(?<={part})' for part in before.split('|'))}){between}(?={behind})"), mark)
        for between, classes in zip(("", " "), CLASSES, strict=True)
        for mark, before, behind in classes
    ]
    found, at = "", 0
    while at < len(text):
        joint, mark = next(((m, mark) for p, mark in patterns if (m := p.match(text, at))), (None, ""))
        found += mark + ("" if joint and joint.end() > at else text[at])
        at += 1
    return found


def _with_same_marks(texts: Iterable[str]) -> None:
    assert [marks._USUAL.marked(text) for text in texts] == [slow_marks(text) for text in texts]


@given(
    text=st.lists(
        st.text(
            st.sampled_from("가각간갈감것게과권길다도되될듯리바병삶성소수신안어여역열오용울을의이일자점지참할"),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    ).map(" ".join)
)
def test_patterns_tried_at_few_joints_are_those_tried_at_all(text: str) -> None:
    _with_same_marks([text])


@pytest.mark.skipif(not TEXTS.exists(), reason="needs ../shared/data/text_ko")
def test_patterns_on_real_words() -> None:
    words = {w for line in itertools.islice(sentences([TEXTS / "ud_kaist.txt.xz"]), 150) for w in line.split()}
    _with_same_marks([word for word in sorted(words) if re.fullmatch("[가-힣]+", word)])


def test_all_syllables_have_a_pronunciation_with_the_seven_codas() -> None:
    for code in range(COUNT):
        (said, units, _), *_ = pronounce(chr(FIRST + code))
        assert len(said) == 1 and parts(said)[2] in ("", *"ㄱㄴㄷㄹㅁㅂㅇ")
        assert phones(said) == units and set(units) <= set(PHONES)


@given(text=st.lists(st.text(SYLLABLE, min_size=1, max_size=5), min_size=1, max_size=3).map(" ".join))
def test_readings(text: str) -> None:
    """Each is as long as the text, has only the seven codas, and is one of those that the cascade gives."""
    readings = pronounce(text, 50)
    assert all(len(said) == len(text.replace(" ", "")) for said, *_ in readings)
    assert all(parts(syllable)[2] in ("", *"ㄱㄴㄷㄹㅁㅂㅇ") for said, *_ in readings for syllable in said)
    assert len({units for _, units, _ in readings}) == len(readings)
    assert sum(reading.probability for reading in readings) <= 1 + 1e-4
    assert [r.probability for r in readings] == sorted((r.probability for r in readings), reverse=True)


@given(text=st.text(st.sampled_from("가나도러미부소어주초카토페호안올강"), min_size=1, max_size=8))
def test_words_to_which_no_rule_applies_are_spoken_as_written(text: str) -> None:
    plain = all(not parts(a)[2] for a in text[:-1])
    if plain and not any(price in text for price in ("주가", "호가")):  # of the class 가 (價): 주까, 호까
        assert spoken(text) == text


@given(text=st.text(SYLLABLE, min_size=1, max_size=6))
def test_the_form_of_the_letters_does_not_matter(text: str) -> None:
    letters = "".join("".join(parts(syllable)) for syllable in text)
    assert spoken(unicodedata.normalize("NFD", text)) == spoken(text)
    if in_hangul(letters) == text:  # letters in a row may also be other syllables: ㅏㄱㄱㅏ
        assert spoken(letters) == spoken(text)


def test_compatibility_and_half_width_letters() -> None:
    assert spoken("ㄱㅜㄱㅁㅜㄹ") == spoken("ﾡￓﾡﾱￓﾩ") == spoken("국물") == "궁물"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3명", "세명"), ("26일", "이심뉴길"), ("TV를", "티비를"), ("kbs", "케이비에스"), ("NATO", "나토"),
        ("국물, 값!", "궁물갑"), ("100%", "백퍼센트"), ("피자", "피자"), ("커피숍에", "커피쇼베"),
    ],
)  # fmt: skip
def test_digits_letters_and_loan_words(written: str, said: str) -> None:
    assert spoken(written) == said


@pytest.mark.parametrize("text", ["", "ㅋㅋ", "google", "naïve", "日本", "!?", "국물 ㅠㅠ"])
def test_texts_without_a_pronunciation(text: str) -> None:
    assert spoken(text) is None and pronounce(text, 3) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        # classes, by words that the regulation does not name
        ("가능성", "가능썽"), ("구성", "구성"), ("우울증", "우울쯩"), ("판단력", "판단녁"), ("신혼여행", "신혼녀행"),
        ("윗입술", "윈닙쑬"), ("뒷일", "뒨닐"), ("열여덟", "열려덜"), ("닭하고", "다카고"), ("여덟과", "여덜과"),
        ("끝없이", "끄덥씨"), ("윗옷", "위돋"), ("남고", "남꼬"), ("남자", "남자"), ("넘지", "넘찌"), ("실수", "실쑤"),
        ("사실도", "사실도"), ("갈수록", "갈쑤록"), ("먹을게", "머글께"), ("살아도", "사라도"), ("설사", "설싸"),
        ("주절주절", "주절주절"), ("폭발시키다", "폭빨시키다"), ("무슨 일", "무슨닐"), ("십 일", "시빌"),
        ("해야 할 일이", "해야할리리"), ("국제법", "국쩨뻡"), ("죠", "조"), ("놓치다", "녿치다"),
        ("학여울", "항녀울"), ("학여울이", "항녀우리"), ("한여울", "한녀울"),
    ],
)  # fmt: skip
def test_classes(written: str, said: str) -> None:
    assert spoken(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("신발을 신고", "신바를신꼬"), ("신고를", "신고를"), ("사람을 안고", "사라므란꼬"), ("만날 사람", "만날싸람"),
        ("강의의", "강의의"), ("알지", "알지"), ("절도", "절또"), ("물도", "물도"), ("현실적", "현실쩍"),
        ("할게", "할께"), ("참고가", "참고가"), ("한 일이 할 수", "한니리할쑤"),
        ("할 일이 있는 사람을 참고", "할리리인는사라믈참꼬"),
    ],
)  # fmt: skip
def test_tags_tell_verbs_from_nouns(written: str, said: str) -> None:
    pytest.importorskip("kiwipiepy")
    assert pronounce(written, by_tags=True)[0].spoken == said


def test_tags_without_kiwipiepy_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    morphemes.kiwi.cache_clear()
    with pytest.raises(InputError, match="kiwipiepy: pip install"):
        pronounce("신고", by_tags=True)


def test_marks_are_put_between_syllables_only() -> None:
    for _, written, _ in GOLD:
        words = in_hangul(written)
        assert words
        text = marked(words)
        assert text[0] not in rules.MARKS and text[-1] not in rules.MARKS
        assert all(a not in rules.MARKS or b not in rules.MARKS for a, b in itertools.pairwise(text))


KOREAN = Tokens([BLANK, *PHONES])


def test_new_words_of_a_net_of_korean_phones() -> None:
    found = pronunciations(["국물", "TV", "값"], "phone", {"값": [("g",)]}, G2pConfig(), KOREAN)
    assert found == {
        "국물": [("g", "u", "NG", "m", "u", "L")], "TV": [("t", "i", "b", "i")], "값": [("g",)],
    }  # fmt: skip
    with pytest.raises(InputError, match="1 words have no pronunciation: ㅋㅋ"):
        pronunciations(["국물", "ㅋㅋ"], "phone", {}, G2pConfig(), KOREAN)
    with pytest.raises(InputError, match="none of the 1 words is in cmudict"):
        pronunciations(["국물"], "phone", {}, G2pConfig(model="none"), KOREAN)
    english = Tokens([BLANK, "HH", "AH", "L", "OW"])
    assert pronunciations(["hello"], "phone", {}, G2pConfig(), english)["hello"][0] == ("HH", "AH", "L", "OW")


def test_lexicons_of_korean_texts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "words.txt").write_text("검열 국물\n우리의 ㅋㅋ\n")
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for verb, path in zip((["lexicon", "lang=ko"], ["g2p", "apply", "g2p.model=ko"]), paths, strict=True):
        assert cli.main([*verb, str(tmp_path / "words.txt"), f"output={path}", "nbest=3"]) == 0
        assert "3 of 4 words" in (printed := capsys.readouterr().out) and "ㅋㅋ" in printed
    assert paths[0].read_text() == paths[1].read_text()
    lexicon = Lexicon.read(paths[0])
    assert len(lexicon.pronunciations["검열"]) == 2 and len(lexicon.pronunciations["국물"]) == 1
    first, second = lexicon.pronunciations["검열"]
    assert lexicon.cost("검열", first) == 0 < lexicon.cost("검열", second)
    assert cli.main(["lexicon", str(tmp_path / "words.txt"), f"output={paths[0]}", "lang=ko", "nbest=3",
                     "min_probability=0.5"]) == 0  # fmt: skip
    assert len(Lexicon.read(paths[0]).pronunciations["검열"]) == 1
