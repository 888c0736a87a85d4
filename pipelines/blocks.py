"""What stands in Prefect instead of on the worker: which retune.toml, and the secrets it refers to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from lr_retune.errors import ConfigError

PREFIX = "block:"


class RetuneConfig(Block):
    """A retune.toml on the worker and the secrets that its ``env:NAME`` references resolve to.

    Flows and deployments name it as ``block:NAME``; the secrets are stored encrypted by the Prefect server and stand
    in the process's environment while the flow runs, nowhere else.
    """

    _block_type_name = "lr-retune configuration"
    _block_type_slug = "lr-retune-config"
    _description = "A model's retune.toml and the secrets that its env:NAME references resolve to."

    path: str = Field(description="The retune.toml, as a path on the machine where flows run.")
    environment: dict[str, SecretStr] = Field(default_factory=dict, description="Variable to secret value.")


@contextmanager
def opened(reference: str) -> Iterator[str]:
    """The path behind a path or ``block:NAME``; the block's variables are set meanwhile and unset afterwards.

    Raises
    ------
    ConfigError
        If there is no such block.
    """
    if not reference.startswith(PREFIX):
        yield reference
        return
    block = _load(reference.removeprefix(PREFIX))
    with _set({name: value.get_secret_value() for name, value in block.environment.items()}):
        yield block.path


def _load(name: str) -> RetuneConfig:
    try:
        return cast(RetuneConfig, RetuneConfig.load(name))  # a coroutine only for callers that are one
    except ValueError:  # Prefect's answer to a name it does not know
        fix = "make one in Prefect's UI (Blocks, lr-retune configuration) or with RetuneConfig(path=…).save(NAME)"
        raise ConfigError(f"Prefect has no lr-retune configuration block named {name!r}", fix=fix) from None


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
