"""Options that many commands share, in the same words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("retune.toml")
ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The model's retune.toml.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Simulated now, ISO 8601; without an offset in [schedule] timezone.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Hindsight = Annotated[
    bool,
    typer.Option("--hindsight", help="How challengers that passed and were not promoted would have fared; reads rows."),
]
Actor = Annotated[str, typer.Option(help="Who does this, for the ledger; the user of this machine by default.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the ledger.")]
First = Annotated[str, typer.Option("--from", help="First run time.")]
Last = Annotated[str, typer.Option("--to", help="Last run time.")]
Every = Annotated[int, typer.Option(min=1, help="Ticks between two runs.")]
TrainEvery = Annotated[
    int | None,
    typer.Option(
        min=1, help="Ticks between two trainings of policies that train whatever they see; every run by default."
    ),
]
Cached = Annotated[
    Path | None, typer.Option("--cache", help="Where answers are kept, so that a stopped replay goes on where it was.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Policies walked at a time, each in a process.")]

LAST_DAY = datetime.max.replace(tzinfo=UTC)  # a history is cut at no time


def strategies(incomplete: str) -> list[str]:
    """Installed strategies that begin so, for shell completion."""
    from lr_retune.plugins import installed

    return [name for name in installed("strategies") if name.startswith(incomplete)]
