"""Which policies a replay walks: those that always stand, timers by name, and files that override the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lr_retune.config import PROFILES, Config, parse_config, read_toml
from lr_retune.errors import ConfigError
from lr_retune.records import Action
from lr_retune.retune import Policy
from lr_retune.watch.baselines import always, always_search, evidently_default, metric_worse, never, timer
from lr_retune.watch.policy import decide

FIXED_RATE = 0.05
SECTIONS = ("policy", "worth", "gates", "promote", "watch", "window", "search")  # that a policy file may override
_TIMER = re.compile(r"timer(\+search)?:([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of the table: who decides, by which configuration, and whether challengers are judged."""

    name: str
    policy: Policy = decide
    strategy: str | None = None  # None: the configuration's own
    rate: float | None = None  # a single rate instead of a range
    gated: bool = True
    looks: bool = True  # False: it reads neither losses nor drift
    config: Config | None = None  # None: the replay's own


ARMS = {
    arm.name: arm
    for arm in (
        Arm("never", never, looks=False),
        Arm("always", always, looks=False),
        Arm("always-ungated", always, gated=False, looks=False),
        Arm("always+grid", always_search, strategy="grid", looks=False),
        Arm("fixed-05", always_search, strategy="fixed", rate=FIXED_RATE, looks=False),
        Arm("evidently-default", evidently_default),
        Arm("metric-5pct", metric_worse),
        Arm("policy", decide),
    )
}
USUAL = ("never", "always", "always-ungated", "always+grid", "fixed-05", "policy")
STANDING = ("always", "fixed-05", "always+grid")  # whatever is asked for: what a new rate brings, and what it costs


def arm(name: str) -> Arm:
    """A policy by its name in the table.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name in ARMS:
        return ARMS[name]
    if found := _TIMER.fullmatch(name):
        action: Action = "search" if found[1] else "refit"
        return Arm(name, partial(timer, ticks=int(found[2]), action=action), looks=False)
    raise ConfigError(
        f"no replay policy named {name[:60]!r}",
        why=f"there are {', '.join(ARMS)}, timer:N and timer+search:N",
        fix="choose among these, or give a file of overrides with --policy",
    )


def chosen(
    names: Iterable[str], files: Iterable[Path], config: Config, *, train_every: int | None = None
) -> tuple[Arm, ...]:
    """What was asked for, with the rows that always stand.

    Parameters
    ----------
    train_every
        Ticks between two trainings of those that train whatever they see; None: they train at every run.

    Raises
    ------
    ConfigError
        For an unknown name, a file that cannot be read, and two policies of one name.
    """
    asked = [name.strip() for name in names if name.strip()]
    named = [*asked, *(name for name in STANDING if name not in asked)]
    found = [
        *(paced(arm(name), train_every) for name in dict.fromkeys(named)),
        *(from_file(path, config) for path in files),
    ]
    known = [each.name for each in found]
    if twice := next((name for name in known if known.count(name) > 1), None):
        why = "each row of the table is named by its policy, and that of a file by its stem"
        raise ConfigError(f"two policies are named {twice!r}", why=why, fix="rename the file")
    return tuple(found)


def paced(arm: Arm, train_every: int | None) -> Arm:
    """An arm that trains at every run, at so many ticks instead; any other as it is."""
    if train_every is None or arm.policy not in (always, always_search):
        return arm
    action: Action = "refit" if arm.policy is always else "search"
    return replace(arm, policy=partial(timer, ticks=train_every, action=action))


def from_file(path: Path, config: Config) -> Arm:
    """The policy of a TOML file that overrides parts of the configuration; its stem is its name.

    Raises
    ------
    ConfigError
        If it cannot be read, or overrides what makes the question another one.
    """
    try:
        return overridden(path.stem, read_toml(path), config, origin=str(path))
    except ConfigError as error:
        advice = f"mend {path}; `lr-retune config schema` lists every key"
        raise ConfigError(error.what, why=error.why, fix=error.fix or advice) from None


def overridden(name: str, changes: Mapping[str, Any], config: Config, *, origin: str = "policy") -> Arm:
    """The default policy under a configuration with other values in some sections."""
    if strange := sorted(set(changes) - set(SECTIONS)):
        raise ConfigError(
            f"{origin}: {strange[0]!r} cannot be overridden",
            why="policies are compared on the same rows, models and metric",
            fix=f"keep to {', '.join(f'[{section}]' for section in SECTIONS)}",
        )
    document = config.model_dump(mode="json", exclude_none=True)
    for section, values in changes.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"{origin}: {section} is no table", fix=f"write [{section}]")
        base = document.get(section, {})
        document[section] = {**(_without_profile(base, values) if section == "policy" else base), **values}
    return Arm(name, config=parse_config(document, root=config.root, origin=origin))


def _without_profile(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The section as it is, short of what its profile has set, where another profile is asked for."""
    old, new = base.get("profile", "careful"), values.get("profile")
    if new is None or new == old:
        return dict(base)
    return {key: value for key, value in base.items() if PROFILES[old].get(key) != value}


def arms_of(against: Sequence[str | Arm]) -> list[Arm]:
    """Names and arms as arms; all names are known before a row is read."""
    return [arm(each) if isinstance(each, str) else each for each in against]
