"""What a command never shows: passwords out of `env:` and `file:`, kept out of every line that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"
SHORTEST = 6  # characters; what is shorter would mask half of what is said, and is no secret
_OPEN = ("application_name", "sslmode", "connect_timeout", "options", "timeout", "driver", "charset")
_held: set[str] = set()


def remember(value: str) -> None:
    """Learn what a reference of the configuration holds, when it is resolved."""
    found = {part for part in _secrets(value) if len(part) >= SHORTEST}
    _held.update(found, (json.dumps(part)[1:-1] for part in found))


def conceal(value: str) -> None:
    """Learn an address or a key that is a secret as a whole: to know where a chat listens is to be let in."""
    whole = {part for part in (value, *_path(value)) if len(part) >= SHORTEST}
    _held.update(whole, (json.dumps(part)[1:-1] for part in whole))


def _path(value: str) -> Iterator[str]:
    with suppress(ValueError):
        url = urlsplit(value)
        yield from (url.path, f"{url.path}?{url.query}") if url.scheme and url.netloc else ()


def masked(text: str) -> str:
    """A text without anything that was remembered."""
    for secret in sorted(_held, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _secrets(value: str) -> Iterator[str]:
    """Of a URL the password, and what its query says; else the whole."""
    if "://" not in value:
        yield value
        return
    try:
        url = urlsplit(value)
    except ValueError:  # such as a bracket in a password
        yield value
        return
    if url.password and url.password != url.username:  # postgres:postgres is an address, not a secret
        yield from (url.password, unquote(url.password))
    for key, said in parse_qsl(url.query):
        if key.lower() not in _OPEN:
            yield said


class Masked:
    """A text stream that writes nothing secret; it has no bytes beneath that could be written past it."""

    buffer = None

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def masking(out: Any, err: Any) -> Iterator[None]:
    """Answers, errors, warnings, logs of libraries and tracebacks all go through it."""
    with redirect_stdout(Masked(out)), redirect_stderr(Masked(err)):
        yield
