"""How often a probation rolls back in error, and how soon in earnest: ``python -m tests.benchmarks.probation``.

``--promotions N``: so many for each cell, 500 by default.
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.probation.table import table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="False rollbacks of a probation, and ticks to a rollback.")
    parser.add_argument("--promotions", type=int, default=500, help="for each cell")
    sys.stdout.write(table(parser.parse_args().promotions) + "\n")


if __name__ == "__main__":
    main()
