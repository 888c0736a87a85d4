"""Everything lr-retune raises on purpose, and the exit code each error ends with.

::

    RetuneError                  70  a bug, unless a branch below says otherwise
    ├── ConfigError               2  retune.toml, an override, a command's words
    ├── DataError                 3  the feed broke its contract, or a file cannot be read
    ├── DependencyError           4  MLflow, the ledger's database, a disk: away, slow or full
    ├── ConflictError             5  somebody else promoted first
    ├── IntegrityError            6  a digest, a ledger row or an alias is not what was recorded
    └── HeldError                10  a person has to look before anything goes on
"""

from __future__ import annotations


class RetuneError(Exception):
    """An error a person can act on.

    Parameters
    ----------
    what
        What happened, with the value that was seen.
    why
        The law that was broken, or why it matters.
    fix
        What to do now.
    """

    exit_code = 70

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(". ".join(part.rstrip(".") for part in (what, why, fix) if part))


class ConfigError(RetuneError):
    """The configuration, an override or a command line is wrong."""

    exit_code = 2


class DataError(RetuneError):
    """The feed broke its contract or a file cannot be read."""

    exit_code = 3


class DependencyError(RetuneError):
    """A service, database or disk is away, slow or full."""

    exit_code = 4


class ConflictError(RetuneError):
    """The champion changed between reading and promoting."""

    exit_code = 5


class IntegrityError(RetuneError):
    """A digest, ledger row or alias does not match what was recorded."""

    exit_code = 6


class HeldError(RetuneError):
    """Nothing goes on until a person has looked."""

    exit_code = 10
