"""Does the judge keep its stated error rate: ``python -m tests.benchmarks.judge [--parts size,power] [--quick]``.

A part is a module of this package with a function ``table(quick: bool) -> str``; the first line of its text says what
it measures. All parts run by default, by name. ``--quick``: few replays, to see that a part runs.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

_HERE = Path(__file__).parent


def parts() -> list[str]:
    """Names of the modules that make a table."""
    return sorted(path.stem for path in _HERE.glob("*.py") if "\ndef table(" in path.read_text(encoding="utf-8"))


def main() -> None:
    """Make the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Does the judge keep the error rate that it states.")
    parser.add_argument("--parts", default=",".join(parts()), help=f"comma separated: {', '.join(parts())}")
    parser.add_argument("--quick", action="store_true", help="few replays, to see that a part runs")
    asked = parser.parse_args()
    for part in asked.parts.split(","):
        module, began = importlib.import_module(f"tests.benchmarks.judge.{part}"), time.monotonic()
        title = (module.__doc__ or part).splitlines()[0]
        _say(f"({part}) {title}\n\n{module.table(asked.quick)}")
        _say(f"({part}) took {(time.monotonic() - began) / 60:.1f} minutes")


def _say(text: str) -> None:
    print(text, end="\n\n", flush=True)  # noqa: T201 what a benchmark is for


if __name__ == "__main__":
    main()
