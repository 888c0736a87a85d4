"""The command that draws rows for a person to label: golden rows that tell whether the feed's labels are sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune.console import moment, opened, say
from lr_retune.errors import ConfigError, DataError
from lr_retune.words import DEFAULT_CONFIG, AsOf, ConfigPath, Json

if TYPE_CHECKING:
    from datetime import datetime

    from lr_retune.config import Config
    from lr_retune.stores.promotion import Stores


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(golden)


def golden(
    out: Annotated[Path, typer.Option(help="The file to write, .parquet or .csv; it must not exist.")],
    rows: Annotated[int, typer.Option(min=100, help="How many rows: 2000 find .5 % of wrong labels.")] = 2000,
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Draw rows since the champion was judged for a person to label, without the labels that the feed gives them."""
    from lr_retune import answers

    with opened(config) as (loaded, stores):
        drawn = draw(loaded, stores, moment(loaded, as_of), rows, out)
    label = str(loaded.label)
    fields = answers.answer("golden", ok=True, rows=drawn, out=str(out), label=label)
    next_steps = f'fill in {label!r} from a source that the feed does not share, then set [gates] golden = "{out}"'
    say(as_json, fields, [f"{drawn} rows in {out}: {next_steps}"])


def draw(config: Config, stores: Stores, as_of: datetime, rows: int, out: Path) -> int:
    """Write at most so many rows, evenly at random, with an empty label; how many.

    Raises
    ------
    ConfigError
        If the file exists already, or is to be neither Parquet nor CSV.
    DataError
        If there are no labelled ticks since the champion was judged.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from lr_retune.data.feed import Feed
    from lr_retune.plugins import load_feeds
    from lr_retune.records import Span

    if out.suffix not in (".parquet", ".csv") or out.exists():
        why = "it exists already" if out.exists() else "its name ends neither in .parquet nor in .csv"
        raise ConfigError(f"{out} cannot be written", why=why, fix="choose another name")
    champion, feed = stores.champion(as_of), Feed(config, load_feeds(config), as_of)
    horizon, since = feed.horizon(), champion.reference.end
    if horizon is None or horizon <= since:
        why = f"its holdout ended at {since:%Y-%m-%d %H:%M}, and no later tick's labels are complete"
        raise DataError("no rows since the champion was judged", why=why, fix="draw again when labels have come")
    contract, time = champion.contract, config.data.time
    table = feed.some([time, *contract.names], Span(since, horizon), rows, config.seed, contract.transform)
    table = table.append_column(str(config.label), pa.nulls(len(table), pa.float64()))
    write = pyarrow.csv.write_csv if out.suffix == ".csv" else pyarrow.parquet.write_table
    write(table, out)
    return len(table)
