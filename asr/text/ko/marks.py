"""What the letters of Korean do not tell: the marks of `asr.text.ko.rules`, by classes of words and by a list.

`marked` puts them into a text. The list is asr/text/ko/listed.txt. Classes come next: patterns of what stands before
and behind a joint (asr/text/ko/joints.py). Some classes need to know verbs from nouns, which isolated words do not
tell; there the more usual reading counts, and where both are usual, the text has both. With the tags of
`asr.text.ko.morphemes` those classes are not needed.
"""

import re
from functools import cache
from importlib import resources
from typing import NamedTuple

from asr.text.ko.joints import Joints
from asr.text.ko.syllables import with_coda, with_initial
from asr.text.ko.tags import joints

_CODAS = with_coda("ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_LENIS = with_initial("ㄱㄷㅂㅅㅈ")
_I_Y = with_initial("ㅇ", "ㅣㅑㅕㅛㅠ")
_N, _SONORANT, _SONOROUS = with_coda("ㄴ"), with_coda("ㄴㄹㅁㅇ"), with_coda(" ㄴㄹㅁㅇ")
_END = "(?:$| |[이가을를은는의에도만과와로으까보조라인입부처적된됐될됨였])"  # of a noun: nothing, or a particle

# Respelled first. Names of letters before a vowel (16); 밟 and 넓 before a consonant (10).
_NAMES = dict(zip(
    "디귿 지읒 치읓 키읔 티읕 피읖 히읗".split(), "디긋 지읏 치읏 키윽 티읏 피읍 히읏".split(), strict=True
))  # fmt: skip
_RESPELLED = re.compile(
    "|".join(f"{name}(?=[{with_initial('ㅇ')}])" for name in _NAMES)
    + f"|밟(?=[{with_initial('ㄱㄴㄷㄹㅁㅂㅅㅈ')}])|넓(?=[적죽둥])"
)
_SPELLING = _NAMES | {"밟": "밥", "넓": "넙"}

# A syllable that ends in a genitive ㅅ and in no other word (30).
_GENITIVE = "냇샛랫콧팻햇뱃갯뒷윗촛혓귓찻곗횟툇핏홧굣맷젯텃댓챗뼛쳇탯깻잿릿렛"

# Suffixes whose ㄹ is ㄴ after a noun that ends in ㄴ (20), with the syllables that make a word of their own with them.
_NN_SUFFIXES = {
    "란": "혼곤산반문환관", "량": "분전한연", "력": "인전권탄근", "령": _N, "례": "전관연선판단혼인순", "록": "",
    "로": "진난선원언판전혼", "론": "본언변", "료": "원연진만완", "류": "인분전한난본만간",
}  # fmt: skip

# Suffixes and words before which ㄴ is added in compounds (29), with the syllables that make another word with them.
_N_SUFFIXES = {
    "역": "번통광방권검영교직음성현징병국반", "약": "계집공농신한양독절명생청협축선만언", "율": "선운환음법능",
    "용": "활작적인신실등통남약운겸상복착혼중관전응일음임고공징점변원허준수", "유": "석원경등온연신은점공함",
    "염": "감전폭오",
}  # fmt: skip
_N_WORDS = "(?:열차|여행|여성|여자|여울|요리|연필|양말|연습)"

# Syllables that end in ㄹ, or begin with ㄷ ㅅ ㅈ, and write a Chinese character (26). 울, 을 and 올 are left out: they
# end 서울, 가을 and verbs.
_SINO_L = (
    "갈걸결골괄굴궐귤글길날녈눌달돌랄렬률말멸몰물밀발벌별불살설솔술슬실"
    "알얼열왈월율일절졸줄즐질찰철촬출칠탈팔필할헐혈홀활휼힐"
)
_SINO_DSJ = (
    "단달담답당대덕도독돈돌동두둔득등사삭산살삼삽상새색생서석선설섬섭성세소속손솔송쇄쇠수숙순술숭슬습승시식신실심십쌍씨"
    "자작잔잠잡장재쟁저적전절점접정제조족존졸종좌죄주죽준줄중즉즐즙증직진질집징지"
)
_NO_ENDING = (
    "(?!도(?:$| )|지(?:$| |[도만는요않])|자(?:$| |[고마])|소(?:$| )|조차|대로|시[다고키켜킨킬킴킵켰]"
    "|당[하한할해했함합])"
)

# Adnominal forms in ㄹ, and what is tense behind them (27)
_WILL = "할갈올볼될줄쓸낼설칠킬둘쉴을릴널럴뛸띌날"
_ENDINGS_OF_WILL = "(?:걸|게|지)(?:$| |[도는를가만요])|밖에|듯(?:$| |[이한하])"
_LONG_ENDINGS_OF_WILL = "수록|지라도|지언정|진대|진저|세라"  # which nothing but a verb has
_BOUND_NOUNS = (
    "(?:것|거|걸|게|건|겁|데|바|수|적|곳|줄|듯|법|겸)(?:$| |[이가을를은는의에도만과와로으까보조라인입하한밖야예다지니])"
)
_NOUNS_OF_WILL = "(?:도리|사람|경우|생각|시간|방법|계획|자신|기회|정도|작정|지경)"

# Verb stems in ㄴ and ㅁ, and their endings (24)
_STEMS = "[남넘]|껴안|머금|[더다]듬|서슴|떠안|끌어안|(?<![가-힣])[감담숨품뿜참심삼검신안]"
_ENDINGS = "(?:다(?![르른를름])|게|던|더[니라]|도록|거나|거든|소(?:$| )|자마자|습니)"
_BOTH = {"안": "다지", "신": "고", "참": "고", "감": "지", "심": "지", "검": "지"}  # also other words: 신고, report

# First syllables of nouns of two that end in 의, which is not the particle there: 강의, 회의
_UI = "강회주정동논합협결심상하호성예거유문제건항모수자창편함고본진토열불탈명의신"

# Sino-Korean suffixes that are tense after a noun of two syllables or more, with the syllables that make a word of
# their own with them: 가능성, but 구성.
_TENSE_SUFFIXES = {
    "성": "구장건완형조생편찬여남지감개인이음양근모위왕호투함", "권": "증강여",
    "증": "검인보논고반예물공확심수", "법": "방는은던", "병": "발소수초년졸의장헌영용리온주일", "값": "반",
}  # fmt: skip

_CLASSES = [  # mark, before, behind
    (
        "/",
        f"[{with_coda('ㄲㄳㄺㄽㄾㄿㅄㅅㅆㅈㅊㅋㅌㅍ')}]",
        "(?:없|옷|위|아래|어른|웃음|얼음)",
    ),  # words on their own (15)
    ("/", "[닭탉흙칡삵슭]", f"[{with_initial('ㄱㅎ')}]"),  # nouns, unlike verbs (11)
    ("/", "덟", f"[{_LENIS}]"),
    ("/", "[삶앎]", "(?:[과도속]|까지|조차)"),
    ("/", "[옮굶곪]", "[기겨긴길김깁겼]"),  # the causative 기 (24)
    ("'", f"[{_GENITIVE}]", f"[{_LENIS}]"),
    ("+", f"[{_GENITIVE}]", f"[{_I_Y}]"),
    *(("=", f"[가-힣](?![{own} ])[{_N}]", suffix + _END) for suffix, own in _NN_SUFFIXES.items()),
    *(("+", f"[가-힣](?![{own} ])[{_CODAS}]", suffix + _END) for suffix, own in _N_SUFFIXES.items()),
    ("+", f"[{_CODAS}]", _N_WORDS + _END),
    ("+", "[열물른흔쉰순든]", "(?:여섯|일곱|여덟)"),
    ("+", "[십백천만억]", "육"),
    ("'", f"(?!한)[{_SONORANT}]", "(?:바닥|구멍|줄기|가락|덩어리)"),
    ("'", f"(?![잔큰찬군흰된쉰튼])[{_SONORANT}]", "소리"),
    *(("'", f"[가-힣](?![{own} ])[{_SONOROUS}]", suffix + _END) for suffix, own in _TENSE_SUFFIXES.items()),
    ("'", f"[가-힣](?![효결성초통경투여사모다부제무고루라])[{with_coda(' ')}]", "과" + _END),
    ("^", "[되피뛰쉬]", "[어었]"),
    ("^", "아니|(?<![가-힣])이", "오(?![가-힣])"),
]
_GUESSED = [
    *(('"', f"(?<![가-힣]){stem}", f"[{endings}](?:$| )") for stem, endings in _BOTH.items()),
    ("'", _STEMS, _ENDINGS + "|[고지](?:$| |[는도만요])"),
    ("'", f"[{_WILL}]", _ENDINGS_OF_WILL),
    ("'", f"[{with_coda('ㄹ')}]", _LONG_ENDINGS_OF_WILL),
    ("'", f"(?P<sino>[{_SINO_L}])", f"(?!.?(?P=sino)){_NO_ENDING}[{_SINO_DSJ}]"),
    ("'", f"[가-힣][{_SINO_L}]", "자" + _END),
    ("_", f"(?<![가-힣])(?![{_UI}])[가-힣]|[가-힣](?!주)[가-힣]", "의(?:$| )"),
]
_BETWEEN_WORDS = [
    ("+", f"[{_CODAS}]", "(?:여섯|여덟|엿|연대|잎|입[다고은는을어었지])"),
    ("+", f"(?![일이삼사오육칠팔구십백천만억])[{_CODAS}]", "일(?:$| |[이을은도만에])"),
]
_GUESSED_BETWEEN_WORDS = [
    ("'", f"[{_WILL}]", _BOUND_NOUNS),
    ("'", f"(?!을)[{_WILL}]", _NOUNS_OF_WILL),
]


_SEALED = "."  # a joint inside a listed word that has no mark
_USUAL = Joints((*_CLASSES, *_GUESSED), (*_BETWEEN_WORDS, *_GUESSED_BETWEEN_WORDS))
_IN_WORDS, _AT_SPACES = Joints(_CLASSES, ()), Joints((), _BETWEEN_WORDS)


def marked(text: str) -> str:
    """Words of Hangul between single spaces, with marks; each word as it is usually meant."""
    return _USUAL.marked(_listed_words(text)).replace(_SEALED, "")


def marked_by_tags(text: str) -> str:
    """The same; parts of speech tell verbs from nouns. Raises InputError if kiwipiepy is not installed."""
    told = joints(text, (_SINO_L, _SINO_DSJ))
    found, at = "", 0  # at: in the text without marks
    for character in _IN_WORDS.marked(_listed_words(text)):
        if character == " ":
            found += told.get(at + 1, character)
            at += 1
        elif "가" <= character <= "힣":
            found += told.get(at, "") if "가" <= found[-1:] <= "힣" else ""
            found += character
            at += 1
        else:
            found += character
    return _AT_SPACES.marked(found).replace(_SEALED, "")


def _listed_words(text: str) -> str:
    text = _RESPELLED.sub(lambda old: _SPELLING[old[0]], text)
    return " ".join(map(_listed, text.split(" ")))


def _listed(word: str) -> str:
    """The word with the marks of the entries that it holds."""
    entries = _entries()
    found, end, at = "", 0, 0
    while at < len(word):
        for entry in entries.get(word[at : at + 2], ()):
            if word.startswith(entry.word, at) and (at == 0 or entry.is_anywhere):
                found += word[end:at] + entry.marked
                at = end = at + len(entry.word)
                break
        else:
            at += 1
    return found + word[end:]


class _Entry(NamedTuple):
    word: str
    marked: str
    is_anywhere: bool


@cache
def _entries() -> dict[str, list[_Entry]]:
    """First two syllables -> entries of the list, the longest word first."""
    found: dict[str, list[_Entry]] = {}
    for line in (resources.files(__package__) / "listed.txt").read_text("utf-8").splitlines():
        for item in () if line.startswith("#") else line.split():
            word = re.sub("[^가-힣]", "", item)
            sealed = re.sub("(?<=[가-힣])(?=[가-힣])", _SEALED, item.removeprefix("*"))
            found.setdefault(word[:2], []).append(_Entry(word, sealed, item[0] == "*" or len(word) > 2))
    return {start: sorted(entries, key=lambda entry: -len(entry.word)) for start, entries in found.items()}
