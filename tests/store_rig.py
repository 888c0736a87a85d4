"""Small real records for the store tests; run as a script it kills promotions at every outside call.

``python store_rig.py FOLDER`` prints one JSON line per kill point. The script imports MLflow once
and forks a child per point, because a fresh interpreter costs five CPU seconds.
"""

import json
import os
import shutil
import signal
import sys
import warnings
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


# ── kill -9 at every outside call ─────────────────────────────────────────────────────────────────
def kill_before(n):
    """SIGKILL this process just before its n-th call to MLflow or n-th ledger transaction.

    Dying before call n + 1 is dying after call n whose answer was lost.
    """
    from mlflow import MlflowClient

    from lr_retune.stores.ledger import Ledger

    count = 0

    def counted(name, call):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == n:
                Path("died").write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for name in [name for name in vars(MlflowClient) if not name.startswith("_") and name != "tracking_uri"]:
        setattr(MlflowClient, name, counted(name, getattr(MlflowClient, name)))
    Ledger._transact = counted("ledger", Ledger._transact)


def examine(root):
    """The state after one reconcile, and after the run was repeated."""
    from lr_retune.stores.promotion import Stores

    stores = Stores.open(config(root))
    stores.reconcile()
    as_of = BORN + 13 * DAY
    head, alias = stores.ledger.head("fraud"), stores.registry.alias("fraud", "champion")
    found = {
        "in_step": alias == head.version,
        "epoch": head.epoch,
        "broken": stores.ledger.verify("fraud"),
        "again": stores.reconcile(),
        "open": [p.state for p in stores.ledger.promotions("fraud", "PREPARED", "CLAIMED")],
    }
    report = promote(stores)
    head = stores.ledger.head("fraud")
    runs = stores.registry._search("tags.`lr_retune.model` = 'fraud'")
    trials = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == report.run_id]
    return found | {
        "outcome": report.outcome,
        "final_epoch": head.epoch,
        "final_in_step": stores.registry.alias("fraud", "champion") == head.version == report.champion.version,
        "versions": stores.registry.versions("fraud"),
        "previous": stores.registry.alias("fraud", "previous"),
        "unfinished_runs": [r.info.run_id for r in runs if r.info.status == "RUNNING"],
        "trials": len(trials),
        "moves": len([m for m in stores._chronicle.moves if m.as_of == as_of]),
        "clean": stores.reconcile() + stores.ledger.verify("fraud"),
    }


def in_child(work):
    """Run in a fork; its wait status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  (a child must end here whatever happens)
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def main(folder):
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (imported before the forks)

    from lr_retune.stores.mlflow import MLflowRegistry
    from lr_retune.stores.promotion import Stores

    root, backup = Path(folder) / "live", Path(folder) / "backup"
    root.mkdir(parents=True)
    os.chdir(folder)
    from lr_retune.stores import bundle

    warm = MLflowRegistry(config(root))
    shape = files(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm._pyfunc.pyfunc.save_model(  # whatever it imports on first use is imported before the forks
            Path(folder) / "warm",
            python_model=str(Path(bundle.__file__).with_name("served.py")),
            pip_requirements=["numpy"],
        )
    warm._signature(shape)
    if in_child(lambda: born(Stores.open(config(root)))):
        raise SystemExit("bootstrap failed")
    root.rename(backup)

    def killed(n):
        kill_before(n)
        promote(Stores.open(config(root)))

    n = 0
    while True:
        n += 1
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(backup, root)
        Path("died").unlink(missing_ok=True)
        status = in_child(lambda n=n: killed(n))
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        where = Path("died").read_text() if died else "survived"
        if status and not died:
            raise SystemExit(f"kill point {n} failed by itself")
        if in_child(
            lambda n=n, where=where: sys.stdout.write(json.dumps({"n": n, "where": where, **examine(root)}) + "\n")
        ):
            raise SystemExit(f"examination after kill point {n} ({where}) failed")
        if not died:
            return


if __name__ == "__main__":
    main(sys.argv[1])
