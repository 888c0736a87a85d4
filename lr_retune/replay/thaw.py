"""Records to JSON and back, value for value: what a cache on disk is made of. No pickle: a file can only hold data."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np


def frozen(value: Any) -> str:
    """A record as one line of JSON, fields outside its digest and non-finite numbers included."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def thawed(text: str, kind: Any) -> Any:
    """The record of a type that `frozen` told.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the text is not of that type.
    """
    return _revived(json.loads(text), kind)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.isoformat() if isinstance(value, datetime) else value


def _revived(value: Any, kind: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(value, args)
    if origin is tuple:
        parts = (args[0],) * len(value) if args[-1] is Ellipsis else args
        return tuple(_revived(v, part) for v, part in zip(value, parts, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _revived(v, args[1]) for key, v in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**{name: _revived(value[name], hint) for name, hint in _hints(kind).items()})
    return datetime.fromisoformat(value) if kind is datetime else value


def _one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    """None, or of the first kind that is no None; several plain kinds are told apart by JSON itself."""
    rest = [kind for kind in kinds if kind is not type(None)]
    if value is None or len(rest) > 1 or get_origin(rest[0]) is Literal:
        return value
    return _revived(value, rest[0])


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}
