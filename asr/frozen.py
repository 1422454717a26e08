"""Configurations and mappings that cannot be changed, so that threads may share them."""

from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import cache, cached_property
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C")


class FrozenDict(Mapping[K, V]):
    """A read-only, hashable copy of a mapping."""

    def __init__(self, items: Mapping[K, V]):
        self._items = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    @cached_property
    def content(self) -> "Content":
        """The items in their order, with the types of values, as a key of tables. Raises TypeError for a value without
        a hash."""
        return Content(tuple((key, value, type(value)) for key, value in self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


class Content:
    """A tuple whose hash is computed once."""

    def __init__(self, items: tuple[Any, ...]):
        self._items, self._hash = items, hash(items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Content) and self._items == other._items)


def frozen(cfg: C) -> C:
    """A read-only copy of a configuration, its groups included; lists become tuples.

    It is an instance of the same class. Assigning to an attribute raises dataclasses.FrozenInstanceError.
    `dataclasses.replace`, `copy.copy` and `copy.deepcopy` return ordinary instances again.
    """
    if isinstance(cfg, _Frozen):
        return cfg
    copied: C = object.__new__(_frozen_class(type(cfg)))  # type: ignore[arg-type]
    vars(copied).update({f.name: _frozen_value(getattr(cfg, f.name)) for f in fields(cfg)})  # type: ignore[arg-type]
    return copied


def _frozen_value(value: Any) -> Any:
    if is_dataclass(value):
        return frozen(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen_value, value))
    return FrozenDict(value) if isinstance(value, dict) else value


class _Frozen:
    """Placed before a dataclass in the bases of its read-only form."""

    def __new__(cls, *args: Any, **values: Any) -> Any:
        return cls.__bases__[1](*args, **values)  # for dataclasses.replace

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(
            f"cannot assign to '{name}' of a {type(self).__name__} in use; change a copy from dataclasses.replace"
        )

    def __eq__(self, other: object) -> bool:
        plain = type(self).__bases__[1]
        return isinstance(other, plain) and all(
            getattr(self, f.name) == _frozen_value(getattr(other, f.name)) for f in fields(plain)
        )

    __hash__ = None  # type: ignore[assignment]

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete '{name}' of a {type(self).__name__} in use")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__bases__[1], (), vars(self).copy()


@cache
def _frozen_class(plain: type) -> type:
    return type(plain.__name__, (_Frozen, plain), {"__module__": plain.__module__})
