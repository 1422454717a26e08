"""Every numeric option has bounds, which hold for configurations from the command line, Python and bundles."""

from math import inf, nan

import numpy as np
import pytest

from asr.bounds import complaint
from asr.cli.options import Option, all_options
from asr.cli.overrides import compose
from asr.config import Config, check_choices
from asr.errors import InputError

NUMERIC = [o for o in all_options().values() if "int" in str(o.type) or "float" in str(o.type)]


@pytest.mark.parametrize("option", NUMERIC, ids=lambda o: o.name)
def test_every_number_has_bounds(option: Option) -> None:
    assert option.within
    wrong = [nan, "x", True, 10**400, -(10**400), {}, *([-inf] if option.within[0] == "[" else [])]
    for value in wrong:
        cfg = Config()
        given = [value] if option.is_list else value
        with pytest.raises(
            InputError, match=rf"^{option.name}=.*: expected a"
        ):  # a wrong type is refused when it is set
            setattr(getattr(cfg, option.group) if option.group else cfg, option.key, given)
            check_choices(cfg)
    low = "-1e30" if "float" in str(option.type) else str(-(10**30))
    with pytest.raises(InputError, match=option.name):
        compose([f"{option.name}={f'[{low}]' if option.is_list else low}"])


@pytest.mark.parametrize(
    ("within", "inside", "outside"),
    [
        ("[0, 1]", [0, 1, 0.5, np.float32(0.25)], [-1e-9, 1.0000001, nan, inf]),
        ("(0, 1)", [1e-300], [0, 1]),
        ("(0, inf]", [inf, 1e308], [0, -inf, nan]),
        ("[1, 2147483647]", [np.int64(7)], [2**31, 0]),
    ],
)
def test_intervals(within: str, inside: list, outside: list) -> None:
    assert [complaint(x, float, within) for x in inside] == [None] * len(inside)
    assert all(complaint(x, float, within) == f"expected a number in {within}" for x in outside)


def test_types() -> None:
    assert complaint(None, int | None, "[0, 1]") is None and complaint((0, 1), list[int], "[0, 1]") is None
    assert complaint(None, int, "[0, 1]") == complaint(0.0, int, "[0, 1]") == "expected a whole number in [0, 1]"
    assert complaint(1, str, "") == "expected text" and complaint(1, bool, "") == "expected true or false"
    assert complaint("ab", list[str], "") == "expected a list of text"
