"""What every code and word means that a script or a person may meet in an answer."""

from __future__ import annotations

from itertools import chain

LEDGER_RULES = {
    "LRR421": "An adopted model cannot be loaded safely (a pickle, code, types outside the allowlist). Its files are "
    "never read: the scores it logged stand for it, and it can be beaten and gone back to.",
    "LRR422": "A rollback went back to a model whose files are never loaded: their digests were checked, its golden "
    "predictions were skipped.",
    "LRR410": "An approver must be somebody else than the author of a challenger. Nobody is known as its author: "
    "`lr-retune run --actor` tells.",
    "LRR401": "This very model was rolled back before. It is frozen until a person lifts it: `lr-retune lift`.",
}
CHECKS = {
    "config": "retune.toml is absent, cannot be read, or breaks one of its laws.",
    "plugins": "A name in retune.toml is no installed source, family, strategy or gate.",
    "data": "The files cannot be read, lack a column, or hold too little history for the window.",
    "guards": "A column of [gates] slices is not in the feed, or the golden set cannot be used.",
    "ledger": "The ledger does not answer, is corrupt, or was edited.",
    "registry": "MLflow does not answer.",
    "libraries": "An installed version lies outside what lr-retune was built for.",
    "timezones": "The machine has no time zone data.",
    "secrets": "A variable or file that retune.toml names as a secret is not there.",
    "folders": "What must be written cannot be, or lies on a network disk.",
    "disk": "The disk is nearly full.",
    "database": "The ledger's database is corrupt, locked, away, newer, or not there yet.",
    "mlflow": "MLflow's database is corrupt or locked, or its server does not answer.",
    "no_champion": "The ledger has no champion of this name yet.",
    "unfinished": "A crash left a promotion half done, or MLflow was not shown a result. See `lr-retune reconcile`.",
    "models": "Model files of the champion or of the previous one are missing or altered.",
    "unattended": "Nobody has looked for two ticks: the scheduler is dead, or runs fail.",
    "clock": "The newest look lies in the future of this machine's clock.",
    "future_rows": "Rows carry times after now; no run sees them yet.",
    "notify": "A message has not arrived, or none could: a name in [notify] is not set, or Apprise is not installed.",
    "prefect": "PREFECT_API_URL is set and nobody answers there.",
    "open_port": "MLflow or Prefect on this machine accepts connections from elsewhere.",
}
WORDS = {
    "keep": "Action: nothing is worth doing; the champion stays.",
    "fix_feed": "Action: the feed must be mended first; nothing is trained on broken data. Exit code 3.",
    "refit": "Action: a challenger is trained at the champion's learning rate on fresh data.",
    "search": "Action: the learning rate is searched anew on fresh data.",
    "rollback": "Action: back to the former champion.",
    "ask": "Action: a person decides. Exit code 10.",
    "kept": "Outcome: the champion stays, nothing was tried.",
    "held": "Outcome: nothing goes on before somebody has looked; the reasons say at what.",
    "rejected": "Outcome: the challenger was judged and did not pass; the champion stays.",
    "inconclusive": "Outcome: the evidence does not suffice for a verdict; the champion stays.",
    "promoted": "Outcome: the challenger passed every gate and is champion.",
    "rolled_back": "Outcome: the former champion is champion again.",
    "suggested": "Outcome: the challenger passed; [promote] mode says to promote nothing, `lr-retune promote` does.",
    "awaiting_approval": "Outcome: the challenger passed and waits for `lr-retune approve`.",
    "PASS": "The question was answered with yes. Nothing but PASS from every gate promotes.",
    "FAIL": "The question was answered with no.",
    "INCONCLUSIVE": "The evidence does not suffice; it is no PASS.",
    "ERROR": "The question could not be asked; it is no PASS. Exit code 4 of `lr-retune gate`.",
    "CONFLICT": "The champion has changed since the verdict: judge again. Exit code 5 of `lr-retune gate`.",
    "TAMPERED": "Ledger, files or alias are not what was recorded. Exit code 6 of `lr-retune gate`.",
    "waiting": "Approval: nobody has answered yet, and there is time.",
    "approved": "Approval: somebody approved it and the promotion was not finished; `lr-retune reconcile` does.",
    "expired": "Approval: nobody answered in time ([promote] approval_expires, [gates] expires).",
    "outdated": "Approval: the champion has changed since the verdict; an answer would be exit code 5.",
    "complete": "Trial: it ran to its end.",
    "pruned": "Trial: it was stopped early, others were better.",
    "diverged": "Trial: its loss grew beyond every bound; the learning rate is too high.",
    "starved": "Trial: it had not stopped improving when [search] max_steps ended it.",
    "failed": "Trial: its fit raised an error; its note says which.",
}


def known() -> dict[str, str]:
    """Every code and word with its meaning."""
    from lr_retune.data.contract import FAULTS
    from lr_retune.judge.blocks import BLOCK_RULES
    from lr_retune.judge.gates import RULES
    from lr_retune.judge.guards.common import RULES as GUARD_RULES
    from lr_retune.judge.looks import LOOK_RULES
    from lr_retune.stores.gate import GATE_RULES
    from lr_retune.watch.reasons import REASONS

    tables = (WORDS, CHECKS, LEDGER_RULES, GATE_RULES, RULES, LOOK_RULES, GUARD_RULES, BLOCK_RULES, FAULTS, REASONS)
    return dict(chain.from_iterable(table.items() for table in tables))


def meaning(code: str) -> str | None:
    """The explanation of a code or word; None for anything else."""
    found = known()
    return found.get(code) or found.get(code.upper()) or found.get(code.lower())
