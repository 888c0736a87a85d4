"""Small real records for the store tests and the rig."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lr_retune.config import parse_config
from lr_retune.records import (
    Candidate,
    Column,
    Contract,
    Cost,
    Decision,
    Facts,
    Judgement,
    Plan,
    Reason,
    Report,
    Span,
    TickLoss,
    Trial,
    TuneResult,
    Verdict,
)
from lr_retune.stores.bundle import pack

DAY = timedelta(days=1)
BORN = datetime(2019, 3, 1, tzinfo=UTC)
CONTRACT = Contract(1, (Column("amount", "number"), Column("kind", "category", ("a", "b", "3"))), 100)
TREE = b"tree\nversion=v4\n"


def config(root, **changes):
    raw = {
        "config_version": 1,
        "name": "fraud",
        "task": "binary",
        "data": {"path": "x.parquet", "time": "at", "label": "y"},
        "metric": {"name": "log_loss"},
        **changes,
    }
    return parse_config(raw, root=Path(root))


def files(rate, native=TREE):
    meta = {"family": "lightgbm", "task": "binary", "learning_rate": rate}
    return pack({"model.txt": native}, CONTRACT, meta, {"columns": {"amount": [1.0], "kind": ["a"]}, "scores": [0.5]})


def plan(as_of, digest=None):
    horizon = as_of - DAY
    spans = [Span(horizon - 90 * DAY, horizon - 56 * DAY), Span(horizon - 56 * DAY, horizon - 28 * DAY)]
    rows = {"train": 900, "valid": 300, "holdout": 300}
    digest = digest or f"{as_of:%Y%m%d%H}".ljust(64, "0")
    return Plan(as_of, horizon, *spans, Span(horizon - 28 * DAY, horizon), CONTRACT, rows, digest)


def result(stores, rate, native=TREE):
    digest = stores.models.put(files(rate, native))
    won = Candidate(digest, rate, "constant", 20, 0.42, 100, {"amount": 0.7, "kind": 0.3})
    trials = (
        Trial(0, "candidate", rate, "constant", 0.42, 20, "complete", (0.6, 0.5, 0.42), Cost(1, 20, 18000)),
        Trial(1, "candidate", 9.0, "constant", None, 0, "diverged", (0.6, float("inf"))),
    )
    return TuneResult("lightgbm", "grid", "rounds", won, None, None, trials, timing={"cpu_s": 1.0})


def judgement(status="PASS"):
    verdict = Verdict("paired_loss", "LRR101", status, "better by 2 % | on 28 ticks", 0.02, 0.005, 0.035)
    return Judgement(
        (verdict,), {"champion": 0.43, "challenger": 0.42}, (0.42, 0.41, 0.43), {"data": 0.02, "rate": None}
    )


def seen(champion, as_of, action="search"):
    ticks = tuple(
        TickLoss(as_of - (k + 1) * DAY, as_of - k * DAY, 24, 24 if k else 3, 0.43 + k / 100, k > 0) for k in (2, 1, 0)
    )
    facts = Facts(as_of, champion.model, as_of - DAY, 72, 51, 9, ticks, None)
    reasons = (Reason("age", "settled 31 days ago"),)
    decision = Decision(f"{as_of:%Y%m%d%H}-{champion.model[:8]}-{champion.epoch}", action, reasons)
    return Report("held", facts, decision, champion)


def born(stores, rate=0.1):
    return stores.bootstrap(plan(BORN), result(stores, rate), judgement())


def promote(stores, days=13, rate=0.07, status="PASS", champion=None):
    """What a run does `days` after the birth."""
    as_of = BORN + days * DAY
    report = seen(champion or stores.champion(as_of), as_of)
    stores.record(report.facts, report.decision)
    return stores.settle(report, plan(as_of), result(stores, rate), judgement(status))
