"""The limit on what is numbered: states, arcs, labels and words have 31-bit numbers in files and in the search."""

from asr.errors import InputError

MOST = 2**31 - 1


def require_count(count: int, what: str) -> None:
    """Raises InputError if `count` of `what` are more than 31-bit numbers can number."""
    if count > MOST:
        raise InputError(f"the graph has {count} {what}, more than 2^31 - 1; prune the language model")
