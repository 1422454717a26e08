"""Random mutations of a valid input: bits, bytes, numbers, copies, cuts and splices."""

import numpy as np

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
WORDS = [b"nan", b"inf", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"[", b"{", b"\0", b"\xff", b"\n",
         b"\t", b" ", b"\xed\xa0\x80", b"\\ud800", b"..", b"/", b"<s>", b"<eps>"]  # fmt: skip


def mutated(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """`data` after one to four mutations; `other` is another valid input, from which parts are copied."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, end = sorted(rng.integers(0, len(out) + 1, 2).tolist())
        kind = rng.integers(8)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.integers(8)
        elif kind == 1:
            size = int(rng.choice([1, 2, 4, 8]))
            number = NUMBERS[rng.integers(len(NUMBERS))] % (1 << 8 * size)
            out[at : at + size] = number.to_bytes(size, "little")
        elif kind == 2:
            out[at:at] = WORDS[rng.integers(len(WORDS))]
        elif kind == 3:
            del out[at : min(end, at + 40)]
        elif kind == 4:
            out[at:at] = out[at : min(end, at + 200)]
        elif kind == 5:
            start = int(rng.integers(0, len(other) + 1))
            out[at:at] = other[start : start + int(rng.integers(1, 60))]
        elif kind == 6:
            out[at : at + 1] = bytes([rng.integers(256)])
        else:
            del out[end:]
    return bytes(out)
