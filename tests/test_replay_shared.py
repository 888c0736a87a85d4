"""What policies of a replay share: fits answer as the family itself would, and rows are what they are anyway."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, Policy, load_config
from lr_retune.data.feed import Feed
from lr_retune.errors import ConfigError, DataError, RetuneError
from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.plugins import load_feeds
from lr_retune.records import Family, Fits, Span
from lr_retune.replay import once, remembered
from lr_retune.replay.held import held
from lr_retune.replay.once import READ, READ_OF_POLICY, Once
from lr_retune.replay.remembered import Answers
from lr_retune.replay.shared import SharedFamily
from lr_retune.steps.loaded import Loaded
from lr_retune.testing import check_family, toy_data
from tests.worlds import day, world

DATA = {task: toy_data(task, rows=80) for task in ("regression", "binary")}
FAMILIES: dict[str, Family] = {
    "lightgbm": LightGBM({"num_leaves": 4, "min_data_in_leaf": 15, "bagging_fraction": 0.6, "bagging_freq": 1}, 1),
    "sgd": SGD({}, threads=1),
}
RATES = {"lightgbm": (0.1, 0.9), "sgd": (0.01, 1e5)}  # the last of SGD diverges: its fit ends by itself
SCHEDULES = {"lightgbm": ("constant", "cosine(6)"), "sgd": ("constant", "exponential(4)")}
EVER: dict[str, Answers] = {}  # over all examples, so that most are answered from what others trained


def sharing(name: str, answers: Answers | None = None) -> SharedFamily:
    return SharedFamily(FAMILIES[name], answers or EVER.setdefault(name, Answers(lambda _seconds: None)), "q")


def said(ask: Callable[[], Any]) -> Any:
    """An answer, or the error in its place."""
    try:
        return ask()
    except (RetuneError, ValueError, KeyError) as error:
        return type(error), str(error)


def life(fits: Fits, name: str, asked: list[tuple[str, int, int]]) -> list[Any]:
    """All that fits answer to a list of calls."""
    handles, told = list[int](), list[Any]([fits.train_rows, fits.baseline])
    for what, which, steps in asked:
        if what == "add" or not handles:
            handles.append(fits.add(RATES[name][which % 2], SCHEDULES[name][steps % 2]))
            continue
        handle = handles[which % len(handles)]
        if what == "advance":
            together = handles if steps == 1 else [handle]
            told += [part.tolist() for part in fits.advance(together, steps)]
        elif what == "score":
            told.append(said(lambda: fits.score(handle, steps).tolist()))  # noqa: B023 - asked at once
        elif what == "finish":
            told.append(said(lambda: fits.finish(handle, steps).files()))  # noqa: B023
        elif what == "steer":
            fits.set_rate(handle, 0.05 * steps)
        else:
            fits.drop(handle)
            handles.remove(handle)
    return told


calls = st.tuples(
    st.sampled_from(["add", "advance", "advance", "advance", "score", "finish", "steer", "drop"]),
    st.integers(0, 3),
    st.integers(1, 5),
)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(asked=st.lists(calls, min_size=3, max_size=12), task=st.sampled_from(sorted(DATA)), seed=st.integers(0, 1))
def test_shared_fits_answer_what_the_family_answers(
    name: str, asked: list[tuple[str, int, int]], task: str, seed: int
) -> None:
    alone = life(FAMILIES[name].start(DATA[task], seed=seed), name, asked)
    both = [life(sharing(name).start(DATA[task], seed=seed), name, asked) for _ in range(2)]
    assert repr(both) == repr([alone, alone])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fit_that_was_asked_for_before_trains_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spared: list[float] = []
    answers = Answers(spared.append)

    def asked(curve: int) -> list[Any]:
        fits = sharing(name, answers).start(DATA["binary"], seed=0)
        handle = fits.add(RATES[name][0])
        return [fits.baseline, fits.advance([handle], curve)[0].tolist(), fits.finish(handle, 3).files()]

    first = asked(6)
    with monkeypatch.context() as patch:
        patch.setattr(type(FAMILIES[name]), "start", lambda *_, **__: pytest.fail("it began again"))
        assert asked(6) == first
        assert asked(4)[1] == first[1][:4]
    assert asked(8)[1][:6] == first[1]
    assert sum(spared) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_errors_are_those_of_the_family_whoever_asked_before(name: str) -> None:
    data = DATA["binary"]
    broken = replace(data, train=replace(data.train, y=np.zeros(len(data.train))))
    for error, ask in (
        (DataError, lambda family: family.start(broken, seed=0)),
        (ConfigError, lambda family: family.start(data, seed=0).add(-1.0)),
        (ConfigError, lambda family: family.start(data, seed=0).add(0.1, "no such schedule")),
    ):
        wanted = said(lambda: ask(FAMILIES[name]))  # noqa: B023 - asked at once
        assert wanted[0] is error
        assert [said(lambda: ask(sharing(name))) for _ in range(2)] == [wanted, wanted]  # noqa: B023


def test_a_shared_family_keeps_the_protocol() -> None:
    for factory in (LightGBM, SGD):
        answers = Answers(lambda _seconds: None)
        for _ in range(2):
            check_family(lambda params, threads: SharedFamily(factory(params, threads), answers, ""))  # noqa: B023


def test_rows_seeds_and_questions_are_told_apart() -> None:
    answers, data = Answers(lambda _seconds: None), DATA["regression"]
    weighed = replace(data, train=replace(data.train, weight=np.ones(len(data.train))))
    family = FAMILIES["sgd"]
    keys = {
        SharedFamily(family, answers, question)._key(each, seed)
        for question in "ab"
        for each in (data, weighed, replace(data, valid=data.train), replace(data, quantile=0.9))
        for seed in (0, 1)
    }
    assert len(keys) == 16


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 1)
    answers, found = Answers(lambda _seconds: None), list[Any]()
    for seed in (0, 1, 0):
        fits = sharing("sgd", answers).start(DATA["binary"], seed=seed)
        handle = fits.add(0.01)
        found.append((fits.advance([handle], 3)[0].tolist(), fits.finish(handle, 2).files()))
        assert len(answers._begun) <= 2
    assert found[0] == found[2] != found[1]


def test_another_process_is_given_the_family_itself() -> None:
    assert copy.copy(sharing("sgd")) is FAMILIES["sgd"]  # by what pickle asks


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(world(tmp_path_factory.mktemp("once"), changed=105), environ={})


def looks(feed: Feed) -> list[Any]:
    span = Span(day(60), day(70))
    contract = feed.learn(span)
    return [
        feed.rows(contract, span, per_tick=50),
        feed.rows(contract, span),
        feed.sample(contract, span, 100, 0),
        feed.check(contract, span, dict.fromkeys(contract.names, 0.5), 0.01),
    ]


def test_rows_that_were_made_once_are_those_that_would_be_made(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = held(config, load_feeds(config))
    kept = Once(lambda _seconds: None)
    wanted = looks(Feed(config, feeds, day(80)))
    first, again = (looks(Feed(config, kept.of(config, feeds), day(80))) for _ in range(2))
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert first[3] == wanted[3]
    assert first[2][0].equals(wanted[2][0])
    for mine, theirs in ((first[0], wanted[0]), (first[1], wanted[1]), (first[2][1], wanted[2][1])):
        assert all(np.array_equal(getattr(mine, n), getattr(theirs, n), equal_nan=True) for n in ("x", "y", "time"))
    with pytest.raises(ValueError, match="read-only"):
        first[0].x[0] = 0.0
    later = looks(Feed(config, kept.of(config, feeds), day(81)))
    assert later[0] is not first[0]
    monkeypatch.setattr(once, "MOST", 1)
    assert looks(Feed(config, kept.of(config, feeds), day(80)))[0] is not None
    assert not kept._made


def test_where_not_all_fits_policies_still_share_the_early_times(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, made = Once(lambda _seconds: None), list[int]()
    feeds = kept.of(config, load_feeds(config))
    assert feeds.once is not None
    monkeypatch.setattr(once, "MOST", 60 * once.ENTRY)

    def walk() -> int:
        made.clear()
        for time in range(100):
            for _again in range(2):
                feeds.once(time, lambda: made.append(time) or "made")  # noqa: B023 - asked at once
        return len(made)

    assert walk() == 100
    assert 40 <= walk() <= 75


def test_a_feed_reads_no_more_of_the_configuration_than_the_key_of_its_rows_holds(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[type, set[str]] = {Config: set(), Policy: set()}

    def noting(kind: type) -> Callable[[Any, str], Any]:
        plain = kind.__getattribute__

        def noted(self: Any, name: str) -> Any:
            if name in kind.model_fields:  # type: ignore[attr-defined]
                asked[kind].add(name)
            return plain(self, name)

        return noted

    feed = Feed(config, held(config, load_feeds(config)), day(80))
    for kind in asked:
        monkeypatch.setattr(kind, "__getattribute__", noting(kind))
    looks(feed)
    assert asked[Config] - {"policy"} <= set(READ)
    assert asked[Policy] <= set(READ_OF_POLICY)
    assert {"data", "watch"} <= asked[Config]


def test_a_loaded_model_answers_rows_once_only_where_nobody_can_change_them(tmp_path: Path) -> None:
    data = DATA["regression"]
    fits = FAMILIES["lightgbm"].start(data, seed=0)
    fits.advance([fits.add(0.1)], 3)
    model = Loaded(fits.finish(0, 3))
    x = data.valid.x.copy()
    before = model.predict(x)
    x[:, 0] += 10.0
    after = model.predict(x)
    assert not np.array_equal(before, after)
    x.flags.writeable = False
    assert model.predict(x) is model.predict(x)
    assert np.array_equal(model.predict(x), after)
    assert model.work() > 0
