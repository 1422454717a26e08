"""What the command line says to a key that no option has: the option that is meant, or how files are given."""

from collections.abc import Collection, Sequence
from pathlib import Path

from asr.cli.options import all_options
from asr.errors import InputError, nearest
from asr.filekinds import SOUND

CUTOFF = 0.75  # of the likeness to a name that is suggested


def unknown_option(key: str, value: str, own: Sequence[str], groups: Collection[str]) -> InputError:
    """The error for `key=value`. `own`: the options of the verb, which alone are suggested for a bare key; empty for a
    recipe, which has those of all verbs."""
    hint = _option_like(key, value, own, groups)
    if not hint and _is_input(value, own):
        hint = f"; files are written without a key: {value}"
    if not hint:
        is_of_any = not own or "." in key
        hint = nearest(key, [*all_options(), *groups] if is_of_any else groups, CUTOFF)
    return InputError(f"there is no option '{key}'{hint or '; `asr VERB --help` lists them'}")


def _option_like(key: str, value: str, own: Sequence[str], groups: Collection[str]) -> str:
    """`; did you mean '...'?` with a group or an option that can have the value: spelled alike, or of the same first
    words, as `lattice` and `lattice_beam` or `word_list` and `words`."""
    options, is_file = all_options(), Path(value).suffix[1:2].isalpha()
    fitting = [name for name in own if not is_file or options[name].is_text and not options[name].choices]
    if hint := nearest(key, fitting if is_file else [*groups, *fitting], CUTOFF):
        return hint
    extra = {name: count for name in fitting if (count := _extra_words(key, name)) is not None}
    best = min(extra, key=extra.__getitem__, default=None)
    return f"; did you mean '{best}'?" if best else ""


def _extra_words(key: str, name: str) -> int | None:
    """By how many words one key is longer than the other that it begins with; None if it does not."""
    one, other = ([word.removesuffix("s") for word in x.rpartition(".")[2].split("_")] for x in (key, name))
    both = min(len(one), len(other))
    return abs(len(one) - len(other)) if one[:both] == other[:both] else None


def _is_input(value: str, own: Sequence[str]) -> bool:
    """Whether the value is named as a file that the verb takes without a key: a recording, a manifest or a bundle."""
    suffix = Path(value).suffix.lower()
    return "input" in own and suffix in (*SOUND, ".jsonl") or "bundle" in own and suffix == ".asr"
