"""Hangul syllables as numbers: 가 is 0, and a syllable is (initial * 21 + vowel) * 28 + coda, as in Unicode."""

INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
CODAS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"  # the first is no coda
FIRST, COUNT = 0xAC00, 11172
NUM_CODAS = len(CODAS)
NUM_OPEN = len(INITIALS) * len(VOWELS)  # syllables without a coda


def with_coda(codas: str) -> str:
    """All syllables that end in one of `codas`."""
    return "".join(chr(FIRST + i) for i in range(COUNT) if CODAS[i % NUM_CODAS] in codas)


def with_initial(initials: str, vowels: str = VOWELS) -> str:
    """All syllables that begin with one of `initials` and have one of `vowels`."""
    size = len(VOWELS) * NUM_CODAS
    return "".join(
        chr(FIRST + i)
        for i in range(COUNT)
        if INITIALS[i // size] in initials and VOWELS[i % size // NUM_CODAS] in vowels
    )


def parts(syllable: str) -> tuple[str, str, str]:
    """한 -> ㅎ, ㅏ, ㄴ; the coda of an open syllable is empty."""
    code = ord(syllable) - FIRST
    initial, rest = divmod(code, len(VOWELS) * NUM_CODAS)
    vowel, coda = divmod(rest, NUM_CODAS)
    return INITIALS[initial], VOWELS[vowel], CODAS[coda].strip()
