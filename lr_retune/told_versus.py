"""What a comparison on existing data says, for scripts and for people."""

from __future__ import annotations

from typing import Any

from lr_retune.answers import in_users_direction, shaped, short, table
from lr_retune.config import Config, format_duration
from lr_retune.judge.blocks import Gap, Pair
from lr_retune.records import iso, plain
from lr_retune.versus import SEEN, Standing, Versus

MUCH = 0.67  # of the other's work or less: told where no loss tells two models apart


# ── for scripts ───────────────────────────────────────────────────────────────────────────────────
def fields(config: Config, found: Versus) -> dict[str, Any]:
    """The contract's words; with two models the difference also stands at the top."""
    alone = found.pairs[0] if len(found.pairs) == 1 else None
    return {
        "arms": [_arm(config, each) for each in found.standings],
        "metric": found.metric,
        "alpha": config.gates.alpha,
        "level": found.level,
        "from": found.span.start,
        "to": found.span.end,
        "block": format_duration(found.block),
        "ticks": found.blocks,
        "rows": found.rows,
        "difference": None if alone is None else _difference(alone.gap),
        "blocks": None if alone is None else _won(alone),
        "pairs": [_pair(each) for each in found.pairs],
        "leaks": [each.contender.name for each in found.leaks],
        "decision": found.better,
        "seeds": found.seeds,
        "seed_matters": found.seed_matters,
        "timing": {f"cpu_s_per_1000:{each.contender.name}": each.cpu_s for each in found.standings},
    }


def _arm(config: Config, found: Standing) -> dict[str, Any]:
    it = found.contender
    return {
        "name": it.name,
        "model": it.digest or None,
        "learning_rate": it.learning_rate,
        "schedule": it.schedule,
        "steps": it.steps,
        "loss": found.loss,
        "metric": in_users_direction(config, found.loss),
        "learned": None if it.learned is None else {"start": it.learned.start, "end": it.learned.end},
        "seen_rows": found.seen,
        "work_per_1000": None if found.work is None else round(1000 * found.work),
        "fit": plain(it.cost),
    }


def _difference(gap: Gap) -> dict[str, float | None]:
    return {"value": gap.value, "low": gap.low, "high": gap.high, "share": gap.share}


def _won(found: Pair) -> dict[str, int]:
    """Of the first model."""
    return {"wins": found.wins, "losses": found.losses, "ties": found.ties}


def _pair(found: Pair) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        "difference": _difference(found.gap),
        "blocks": _won(found),
        "better": found.better,
        "code": found.code,
        "reason": found.reason,
        "seed_sd": found.seed_sd,
        "seeds_needed": found.seeds_needed,
        "slices": [
            {"slice": s.name, "rows": s.rows, "difference": _difference(s.gap), "state": s.state, "better": s.better}
            for s in found.slices
        ],
        "beside": None
        if found.beside is None
        else {"metric": found.beside.metric, "difference": _difference(found.beside.gap)},
    }


# ── for people ────────────────────────────────────────────────────────────────────────────────────
def lines(config: Config, found: Versus) -> list[str]:
    """Models, pairs, slices, and what the figures do not say."""
    block, (start, end) = format_duration(found.block), (found.span.start, found.span.end)
    head = ("model", "rate", "steps", found.metric, "work", "CPU ms", "unseen rows")
    return [
        f"{found.rows:,} labelled rows in {found.blocks} blocks of {block}, {start:%Y-%m-%d} to {end:%Y-%m-%d}",
        *table(head, [_row(config, each, found.rows) for each in found.standings]),
        "work: operations of 1,000 predictions, counted; CPU ms: of 1,000 predictions, measured",
        "",
        *_pairs(found),
        *[line for pair in found.pairs for line in (*_sliced(pair, several=len(found.pairs) > 1), *_besides(pair))],
        *_answer(config, found),
    ]


def _row(config: Config, found: Standing, rows: int) -> tuple[Any, ...]:
    it = found.contender
    work = "–" if found.work is None else f"{1000 * found.work:,.0f}"
    loss = in_users_direction(config, found.loss)
    unseen = "not known" if found.seen is None else "all" if not found.seen else f"{rows - found.seen:,}"
    rate = f"{it.learning_rate:.4g}{shaped(it.schedule)}"
    return it.name, rate, it.steps, short(loss), work, f"{1000 * found.cpu_s:.2f}", unseen


def _pairs(found: Versus) -> list[str]:
    head = (
        "first",
        "second",
        "first less second",
        f"{100 * (1 - 2 * found.level):.4g} % interval",
        "share",
        "blocks won",
    )
    rows = [
        (p.first, p.second, short(p.gap.value), _interval(p.gap), _share(p.gap), f"{p.wins} : {p.losses}")
        for p in found.pairs
    ]
    loss = "losses, lower is better; above zero, the second is better"
    return [*table(head, rows), f"differences of {loss}", *[_verdict(pair) for pair in found.pairs]]


def _verdict(found: Pair) -> str:
    names = f"{found.first} and {found.second}"
    more = f"; about {found.seeds_needed} fits of each would tell such a difference" if found.seeds_needed else ""
    told = f"{found.better} is better" if found.better else f"not told: {found.reason}{more}"
    return f"{names}: {found.code} {told}"


def _interval(gap: Gap) -> str:
    return f"[{short(gap.low)}, {short(gap.high)}]"


def _share(gap: Gap) -> str:
    return "–" if gap.share is None else f"{100 * gap.share:+.2f} %"


def _sliced(found: Pair, *, several: bool) -> list[str]:
    if not found.slices:
        return []
    head = ("slice", "rows", "first less second", "interval", "share", "told")
    rows = [
        (s.name, f"{s.rows:,}", short(s.gap.value), _interval(s.gap), _share(s.gap), s.better or s.state)
        for s in found.slices
    ]
    title = f" of {found.first} and {found.second}" if several else ""
    told = "all together at the level of the pair; UNKNOWN: too thin to tell, even: zero is not excluded"
    return ["", f"slices{title}, {told}", *table(head, rows)]


def _besides(found: Pair) -> list[str]:
    if found.beside is None:
        return []
    gap = found.beside.gap
    return [
        f"told, not judged: {found.beside.metric} of {found.first} less {found.second} as losses: "
        f"{short(gap.value)} {_interval(gap)}"
    ]


def _answer(config: Config, found: Versus) -> list[str]:
    if found.leaks:
        return ["", *[_leak(each) for each in found.leaks], f"None is named best: {SEEN}. {_clean(found)}"]
    told = (
        f"{found.better} is better than every other."
        if found.better
        else "No model is told to be better than every other."
    )
    return [
        "",
        told,
        *_cheaper(found),
        f"If all were alike, this would name a better one at most {100 * config.gates.alpha:g} times in 100. "
        f"It speaks of {_speaks(found)}, and for blocks of time like these.",
        "Whoever picks a model by this has looked at these rows: `lr-retune run` judges a promotion on later ones.",
    ]


def _cheaper(found: Versus) -> list[str]:
    """Where two are not told apart, what the one that serves with much less work may lose."""
    known = {each.contender.name: each for each in found.standings}
    said = []
    for pair in found.pairs:
        a, b = known[pair.first], known[pair.second]
        if pair.code != "LRR251" or not a.work or not b.work or not MUCH * max(a.work, b.work) > min(a.work, b.work):
            continue
        less, more = (a, b) if a.work < b.work else (b, a)
        worst = pair.gap.high if less is a else None if pair.gap.low is None else -pair.gap.low
        if worst is not None and less.work and more.work and more.loss > 0:
            most = f"at most {100 * max(worst, 0.0) / more.loss:.2g} % of loss, by the interval"
            share = f"{100 * less.work / more.work:.0f} % of the work of {more.contender.name}"
            said.append(f"{less.contender.name} answers with {share}, and costs {most}.")
    return said


def _speaks(found: Versus) -> str:
    """Of what a finding is: a claim about rates needs several fits where a seed moves them."""
    if found.seeds > 1:
        return f"rates ({found.seeds} fits of each: what a seed does is part of the error; slices are of the first)"
    if found.seed_matters is False:
        return "rates (another seed makes no other model)"
    return "these very models"


def _leak(found: Standing) -> str:
    name, learned = found.contender.name, found.contender.learned
    if learned is None:
        return f"LEAK? nobody told which rows {name} has learned from"
    return (
        f"LEAK: {name} has learned from rows until {iso(learned.end)}, {found.seen:,} of the compared ones among them"
    )


def _clean(found: Versus) -> str:
    ends = [each.contender.learned.end for each in found.standings if each.contender.learned is not None]
    return f"Rows from {max(ends):%Y-%m-%d %H:%M} on are new to all that tell: compare --from then." if ends else ""
