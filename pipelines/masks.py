"""Which texts must never be shown, and errors without them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lr_retune.errors import DependencyError, RetuneError

if TYPE_CHECKING:
    from lr_retune.config import Config
    from lr_retune.records import Report

MASK = "***"


class Secrets:
    """The secret values of one configuration."""

    def __init__(self, values: list[str]) -> None:
        found = {part for value in values for part in (value, *_parts(value)) if part}
        self._values = sorted(found, key=lambda value: (-len(value), value))  # a URL before the password in it

    @classmethod
    def of(cls, config: Config) -> Secrets:
        """What the configuration's ``env:`` and ``file:`` references hold."""
        from lr_retune.config import resolve_secret

        def held(value: str) -> str:
            try:
                return resolve_secret(value, config.root)
            except RetuneError:  # whoever needs it says so
                return ""

        return cls([held(value) for value in _references(config.model_dump(mode="json"))])

    def masked(self, text: str) -> str:
        """A text without them."""
        for value in self._values:
            text = text.replace(value, MASK)
        return text

    def anywhere(self, value: Any) -> Any:
        """Texts, mappings and sequences of them without them; what is neither stays."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, Mapping):
            return {key: self.anywhere(item) for key, item in value.items()}
        return type(value)(map(self.anywhere, value)) if isinstance(value, (list, tuple)) else value

    def report(self, found: Report) -> Report:
        """A report whose sentences are without them; identities and figures stay."""
        reasons = tuple(replace(reason, text=self.masked(reason.text)) for reason in found.decision.reasons)
        faults = tuple(replace(f, what=self.masked(f.what), fix=self.masked(f.fix)) for f in found.facts.faults)
        judged = found.judgement
        if judged is not None:
            verdicts = tuple(replace(verdict, reason=self.masked(verdict.reason)) for verdict in judged.verdicts)
            judged = replace(judged, verdicts=verdicts)
        return replace(
            found,
            decision=replace(found.decision, reasons=reasons),
            facts=replace(found.facts, faults=faults),
            judgement=judged,
            notes=tuple(map(self.masked, found.notes)),
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let no error out whose message, or whose cause's message, may hold one of them."""
        try:
            yield
        except RetuneError as error:
            raise type(error)(self.masked(error.what), why=self.masked(error.why), fix=self.masked(error.fix)) from None
        except OSError as error:
            raise DependencyError(self.masked(f"{type(error).__name__}: {error}")) from None
        except Exception as error:
            if not self._values:
                raise  # a bug, with its traceback
            raise RetuneError(
                self.masked(f"unexpected {type(error).__name__} in {_place(error)}: {error}"),
                why="this is a bug in lr-retune; the champion was not touched by it",
                fix="run `lr-retune run` with LR_RETUNE_DEBUG=1 and report what it prints",
            ) from None


def _place(error: Exception) -> str:
    """Where it was raised: a traceback would print values that cannot be masked."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}, line {frame.lineno}"


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, str) and value.startswith(("env:", "file:")) and not value.startswith("file://"):
        yield value


def _parts(value: str) -> tuple[str, ...]:
    """The password of a URL as it is written and as it is meant."""
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return ()
    return password, unquote(password)
