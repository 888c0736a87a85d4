"""A decision's page: eight questions answered, figures that recompute the verdict, nothing that could act."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lr_retune.report.blocks import Case
from lr_retune.report.markdown import decision_markdown
from lr_retune.report.page import LARGEST, decision_page, policy, themed_style
from lr_retune.review import case_of
from lr_retune.stores.status import past
from lr_retune.words import LAST_DAY
from tests.worlds import day

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\n::error::pwned"
QUESTIONS = ("why", "tried", "cost", "rate", "gate", "slices", "gain", "undo")


class Read(HTMLParser):
    """A page as somebody without eyes for style reads it: island, tables by id, landmarks."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.island: dict[str, Any] = {}
        self.tables: dict[str, list[list[tuple[str, float | None]]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.titles: list[str] = []
        self._in, self._table = "", ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        self._in = tag
        if tag == "table":
            self._table = (named.get("id") or f"{len(self.tables)}").removesuffix("-table")
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            value = named.get("data-value")
            self.tables[self._table][-1].append(("", None if value is None else float(value)))
        elif tag in ("h1", "h2"):
            self.titles.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        if tag in ("h1", "h2", "script"):
            self._in = ""

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ")
        if self._in == "script":
            self.island = json.loads(data)
        elif self._table and self.tables[self._table] and self.tables[self._table][-1]:
            text, value = self.tables[self._table][-1][-1]
            self.tables[self._table][-1][-1] = (text + data.strip(), value)
        elif self.titles and self._in in ("h1", "h2", "span"):
            self.titles[-1] += data

    def row(self, table: str, name: str) -> list[tuple[str, float | None]]:
        return next(row for row in self.tables[table] if row[0][0].startswith(name))


@pytest.fixture(scope="module")
def cases(lived: Path) -> dict[str, Case]:
    """One case per outcome, from a real ledger; outcomes that did not occur are made from one that did."""
    from lr_retune.config import load_config
    from lr_retune.stores.promotion import Stores

    config = load_config(lived / "retune.toml", environ={})
    stores = Stores.open(config)
    found = {d["outcome"]: case_of(config, stores, d["id"]) for d in past(stores, LAST_DAY)}
    promoted = found["promoted"]
    found["born"] = case_of(config, stores, stores.moves[0].id)
    idle = {"settled": None, "move": None, "after": promoted.before or {}}
    for outcome, action in (("kept", "keep"), ("held", "fix_feed"), ("held", "ask")):
        told = {**promoted.decision, "action": action}
        found[action] = replace(promoted, outcome=outcome, decision=told, **idle)
    for outcome, status in (("rejected", "FAIL"), ("inconclusive", "INCONCLUSIVE"), ("awaiting_approval", "PASS")):
        found[outcome] = _judged(promoted, outcome, status)
    return found


def _judged(case: Case, outcome: str, status: str) -> Case:
    settled = copy.deepcopy(dict(case.settled or {}))
    settled["status"] = settled["judgement"]["verdicts"][1]["status"] = status
    return replace(case, outcome=outcome, settled=settled, move=None, after=case.before or {})


def test_every_decision_answers_the_eight_questions(cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        page = decision_page(case)
        seen = Read(page)
        assert len(page) < LARGEST, name
        sections = [named["id"] for tag, named in seen.tags if tag == "section"]
        assert tuple(sections) == QUESTIONS, name
        assert page.decode().count('<p class="answer">') == 8, name
        assert "None" not in re.sub(r"<script.*</script>", "", page.decode(), flags=re.S), name


def test_a_refits_page_calls_its_one_fit_the_challenger_and_shows_the_way_to_the_last_search(
    cases: dict[str, Case],
) -> None:
    page = decision_page(cases["promoted"])
    seen = Read(page)
    assert seen.tables["trials"][1][1][0] == "old rate: challenger"
    born = cases["born"].decision["id"][:16]
    assert f"lr-retune report --decision {born}" in page.decode()
    words = {row[0][0] for row in seen.tables["words"][1:]}
    assert {"tick", "CUSUM", "margin, floor"} <= words  # whoever reads their first page finds the words on it


def test_the_champions_file_is_as_large_as_the_gate_found_it(cases: dict[str, Case]) -> None:
    case = cases["promoted"]
    size = Read(decision_page(case)).row("serving", "champion")[2][1]
    assert size is not None
    told = next(v["reason"] for v in case.verdicts if v["gate"] == "serving_cost")
    assert f"the champion {(case.before or {})['steps']:,} and {size:,.0f};" in told


def test_every_arm_has_its_interval_and_a_lead_is_told_stretch_by_stretch(cases: dict[str, Case]) -> None:
    seen = Read(decision_page(cases["promoted"]))
    told = seen.island["judgement"]
    for arm, name in (("control", "old rate"), ("fixed", "default rate")):
        row = seen.row("arms", name) if arm in told["losses"] else None
        assert row is None or (arm in told["arms"] and "%" in row[5][0])
    assert "fixed" in told["arms"]
    shown = seen.tables["stretches"][1:]
    assert len(shown) == len(told["stretches"]) == 7
    assert sum(row[2][1] or 0 for row in shown) == seen.island["plan"]["rows"]["holdout"]
    assert [row[3][1] for row in shown] == [each["losses"]["champion"] for each in told["stretches"]]
    parts = {row[0][0]: row for row in seen.tables["attribution"][1:]}
    assert parts["all of it"][2][0] == seen.row("arms", "challenger")[5][0]  # the judged interval
    assert {row[3][0] for row in parts.values()} <= {"yes", "no", "–", "by ticks; seeds were not asked"}


def test_a_binary_page_shows_reliability_curves_and_an_older_record_shows_none(cases: dict[str, Case]) -> None:
    settled = copy.deepcopy(dict(cases["promoted"].settled or {}))
    bins = [{"rows": 90, "predicted": 0.1 * k, "observed": 0.1 * k + 0.02} for k in range(1, 6)]
    settled["judgement"]["calibration"] = {"champion": bins, "challenger": bins}
    seen = Read(decision_page(replace(cases["promoted"], settled=settled)))
    assert [row[2][1] for row in seen.tables["calibration"][1:6]] == [each["predicted"] for each in bins]
    for name in ("arms", "calibration", "stretches"):
        del settled["judgement"][name]
    old = Read(decision_page(replace(cases["promoted"], settled=settled)))
    assert not {"calibration", "stretches"} & old.tables.keys()


def test_screens_that_show_text_get_the_same_answers_and_first_what_undoes_the_decision(
    cases: dict[str, Case], hostile: Case
) -> None:
    for name, case in {**cases, "hostile": hostile}.items():
        found = decision_markdown(case, lambda text: "".join(c for c in text if c.isalnum() or c in " ,.?"))
        assert found.count("\n### ") == 8, name
        assert not re.search(r"None|<script|\x1b|^::error", found, flags=re.M), name
    top = decision_markdown(cases["promoted"], str).partition("###")[0]
    assert "`lr-retune rollback --to 1" in top


def test_the_verdict_follows_from_the_figures_of_the_page(cases: dict[str, Case]) -> None:
    seen = Read(decision_page(cases["promoted"]))
    told, arms = seen.island, seen.tables["arms"]
    losses = told["judgement"]["losses"]
    shown = {row[0][0]: row[3][1] for row in arms[1:]}
    assert shown["champion"] == losses["champion"]
    assert shown["challenger"] == losses["challenger"]
    gain = (shown["champion"] - shown["challenger"]) / shown["champion"]
    assert seen.row("arms", "challenger")[4][1] == pytest.approx(gain)
    low = seen.row("arithmetic", "lower end")[1][1]
    margin, floor = (seen.row("arithmetic", name)[1][1] for name in ("margin", "floor"))
    assert margin == -told["rules"]["margin"]
    others = [row[2][0] for row in seen.tables["verdicts"][1:] if row[0][0] != "paired_loss"]
    passed = set(others) <= {"PASS", "not asked"} and low > margin and gain >= floor
    assert passed == (told["status"] == "PASS") == (told["outcome"] == "promoted")
    parts = {row[0][0]: row[1][1] for row in seen.tables["attribution"][1:]}
    assert parts["fresh data, old rate"] + parts["new rate, same data"] == pytest.approx(parts["all of it"])


def test_gates_without_a_question_are_not_counted_as_passed(cases: dict[str, Case]) -> None:
    page = decision_page(cases["promoted"])
    answers = [row[2][0] for row in Read(page).tables["verdicts"][1:]]
    idle = answers.count("not asked")
    assert idle
    assert f"What decided: {len(answers) - idle} gates passed, {idle} had nothing to ask." in page.decode()


def test_what_is_undone_or_replaced_since_is_seen_at_the_top_and_has_a_way_back(cases: dict[str, Case]) -> None:
    made = cases["promoted"].after["version"]
    for what, version, tone, ways in (
        ("rolled back", "1", "warn", [f"lift {made}", f"rollback --to {made}"]),
        ("replaced", "9", "calm", ["rollback --to 1", f"rollback --to {made}"]),
    ):
        later = ({"what": what, "as_of": day(120).isoformat(), "who": "ops", "why": "", "version": version},)
        seen = Read(page := decision_page(replace(cases["promoted"], later=later)))
        assert f'<h1 class="{tone}"><span class="verdict">promoted, later {what}</span>' in page.decode()
        told = [command.split(" --reason")[0] for command in seen.island["commands"] if "--reason" in command]
        assert told == [f"lr-retune {way}" for way in ways]


def test_the_same_case_gives_the_same_bytes(cases: dict[str, Case]) -> None:
    for case in cases.values():
        assert decision_page(case) == decision_page(copy.deepcopy(case))


def test_undo_and_repeat_are_commands_that_exist(cases: dict[str, Case]) -> None:
    from lr_retune.cli import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands} | {"audit", "contract"}
    for case in cases.values():
        commands = Read(decision_page(case)).island["commands"]
        assert {command.split()[1] for command in commands} <= known
        assert any(command.startswith(("lr-retune run --as-of ", "lr-retune bootstrap ")) for command in commands)
    assert any("rollback --to 1 " in c for c in Read(decision_page(cases["promoted"])).island["commands"])


def test_no_value_of_any_row_stands_on_a_page(lived: Path, cases: dict[str, Case]) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(lived / "rows.parquet")
    values = {f"{v:.9g}"[:9] for name in ("y", "a", "b") for v in rows.column(name).to_pylist()[-2000:]}
    for name, case in cases.items():
        page = decision_page(case).decode()
        assert not [v for v in values if v in page], name
        assert '"contract"' not in page


def test_rows_are_shown_where_they_are_asked_for(lived: Path) -> None:
    from lr_retune.config import load_config
    from lr_retune.stores.promotion import Stores

    asked = load_config(lived / "retune.toml", environ={"LR_RETUNE__REPORT__RAW_VALUES": "true"})
    case = case_of(asked, Stores.open(asked), past(Stores.open(asked), LAST_DAY)[-1]["id"])
    assert case.golden is not None
    assert "Golden rows" in decision_page(case).decode()
    plain = load_config(lived / "retune.toml", environ={})
    assert asked.digest == plain.digest  # what a page shows decides nothing


# ── what could act ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def hostile(cases: dict[str, Case]) -> Case:
    """A case in which every name that data or people choose tries to become markup, a command or an escape."""
    case = cases["promoted"]
    settled, facts = copy.deepcopy(dict(case.settled or {})), copy.deepcopy(dict(case.facts or {}))
    for verdict in settled["judgement"]["verdicts"]:
        verdict["reason"] = HOSTILE
    slices = {"gate": "slices", "code": "LRR310", "status": "PASS", "reason": HOSTILE, "effect": None}
    evidence = {f"country={HOSTILE}": "HARM -3.1 %", "country=DE": "OK +1.0 % [-0.2, +2.2] of 4321 rows"}
    others = [v for v in settled["judgement"]["verdicts"] if v["gate"] != "slices"]
    settled["judgement"]["verdicts"] = [*others, {**slices, "low": None, "high": None, "evidence": evidence}]
    settled["result"]["trials"][0]["note"] = HOSTILE
    settled["result"]["reason"] = HOSTILE
    facts["drift"] = [{**d, "column": HOSTILE} for d in facts["drift"]]
    facts["faults"] = [{"code": "x", "column": HOSTILE, "what": HOSTILE, "fix": HOSTILE, "matters": True}]
    decision = {**case.decision, "reasons": [{"code": "age", "text": HOSTILE}]}
    move = {**(case.move or {}), "actor": HOSTILE, "reason": HOSTILE}
    return replace(case, settled=settled, facts=facts, decision=decision, move=move, model=HOSTILE)


def test_hostile_names_become_neither_markup_nor_escapes(hostile: Case) -> None:
    page = decision_page(hostile)
    seen = Read(page)
    assert b"\x1b" not in page
    assert [cell for cell, _ in seen.row("slices", "country=DE")][2:] == ["4,321", "+1.0 %", "−0.2 % to +2.2 %"]
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert not {"img", "iframe", "object", "form"} & {tag for tag, _ in seen.tags}
    assert not [name for _, named in seen.tags for name in named if name.startswith("on")]
    assert not re.search(rb"^::error::", page, flags=re.M)
    assert seen.island["decision"]["reasons"][0]["text"] == HOSTILE  # the record itself is told as it is
    assert "default-src 'none'" in policy(themed_style())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_draws_it_without_an_error_and_without_asking_for_anything(tmp_path: Path, hostile: Case) -> None:
    from tests.browser import visited

    dom, said, asked = visited(tmp_path, decision_page(hostile))
    assert "Why now?" in dom
    assert not said
    assert not asked


def test_a_reader_without_a_screen_finds_its_way(cases: dict[str, Case]) -> None:
    for case in cases.values():
        seen = Read(decision_page(case))
        tags = [tag for tag, _ in seen.tags]
        assert (tags.count("h1"), tags.count("main"), tags.count("nav")) == (1, 1, 1)
        assert ("html", {"lang": "en"}) in seen.tags
        ids = [named["id"] for _, named in seen.tags if named.get("id")]
        assert len(ids) == len(set(ids))
        assert {named["href"] for tag, named in seen.tags if tag == "a"} <= {f"#{id}" for id in ids}
        assert all(named.get("aria-label") for tag, named in seen.tags if tag == "svg")
        assert all(named.get("scope") for tag, named in seen.tags if tag == "th")


def test_text_is_read_easily_on_light_and_on_dark() -> None:
    light, dark = re.findall(r":root\{([^}]*)\}", themed_style().replace("\n", ""))
    for theme in (light, dark):
        colors = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", theme))
        for name in ("text", "muted", "link", "ink", "blue", "orange", "red", "green", "good", "bad", "warn", "calm"):
            assert _contrast(colors[name], colors["page"]) >= 4.5, name
        for name in ("good", "bad", "warn", "calm"):
            assert _contrast(colors[name], colors[f"{name}-soft"]) >= 4.5, name


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2, 1.4.3: contrast ratio of two colours."""
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    full = color[1:] if len(color) == 7 else "".join(c * 2 for c in color[1:])
    parts = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ── where it lies ─────────────────────────────────────────────────────────────────────────────────
def test_a_run_leaves_its_page_and_the_command_makes_it_again(lived: Path, home: Path, cli: Any) -> None:
    kept = list((home / "lr_retune_pages" / "demo").glob("*.html"))
    assert len(kept) == 2  # the first champion's, and the promotion's
    asked = cli("run", "--as-of", day(112).isoformat(), "--json").json["decision"]
    (page,) = (home / "lr_retune_pages" / "demo").glob(f"*-{asked['id'][:16]}.html")
    (shown,) = lived.rglob(f"decisions/{page.name}")  # where the copied MLflow still keeps its files
    assert shown.read_bytes() == page.read_bytes()
    answer = cli("report", "--decision", asked["id"], "--out", home / "again.html", "--json")
    assert (answer.code, answer.json["decision"]) == (0, asked["id"])
    assert (home / "again.html").read_bytes() == page.read_bytes()
    assert Path(cli("report", "--json").json["path"]) == page
    assert cli("report", "--decision", "nobody").code == 2


def test_a_rollback_has_a_page_and_the_undone_decisions_page_says_so(home: Path, cli: Any) -> None:
    folder = home / "lr_retune_pages" / "demo"
    (before,) = folder.glob("*04-16*")  # the promotion's
    why = "<b>complaints"
    assert cli("rollback", "--actor", "ops", "--reason", why, "--as-of", day(107).isoformat()).code == 0
    seen = Read(before.read_bytes())
    assert f"Since then: rolled back to version 1 on 2024-04-17 by ops: {why}." in unescape(before.read_text())
    assert [cell for cell, _ in seen.row("later", "rolled back")] == [
        "rolled back to version 1",
        "2024-04-17",
        "ops",
        why,
    ]
    back = [command.split(" --reason")[0] for command in seen.island["commands"] if "--reason" in command]
    assert back == ["lr-retune lift 2", "lr-retune rollback --to 2"]  # a rollback froze what it undid
    assert "promoted, later rolled back" in seen.titles[0]
    (made,) = folder.glob("*04-17*")
    own = Read(made.read_bytes())
    assert "is champion again, instead of version 2" in made.read_text()
    assert f"Ops asked for it: {why}." in unescape(made.read_text())
    told = [line.replace('"…"', "x").split() for line in own.island["commands"]]
    assert [words[1] for words in told] == ["lift", "rollback", "audit", "explain"]
    at = ("--actor", "eve", "--as-of", day(108).isoformat())
    assert [cli(*words[1:], *at).code for words in told[:2]] == [0, 0]  # its way back works
    assert "rolled back, later undone" in made.read_text()
    for file, shown in ((before, seen), (made, own)):
        assert cli("report", "--decision", shown.island["decision"]["id"], "--out", home / "again.html").code == 0
        assert (home / "again.html").read_bytes() == file.read_bytes()


def test_a_page_that_cannot_be_written_stops_no_run(home: Path, cli: Any) -> None:
    shutil.rmtree(home / "lr_retune_pages")
    (home / "lr_retune_pages").write_text("in the way")
    found = cli("watch", "--as-of", day(112).isoformat())
    assert found.code == 0
    assert "has no page" in found.err


# ── a model's life ────────────────────────────────────────────────────────────────────────────────
def test_a_timeline_tells_every_champion_and_adds_up_what_each_part_brought(home: Path, cli: Any) -> None:
    answer = cli("report", "--model", "demo", "--out", home / "life.html", "--json").json
    page = Path(answer["path"]).read_bytes()
    seen = Read(page)
    assert len(page) < LARGEST
    assert [row[0][0] for row in seen.tables["rates"][1:]] == [day(100).date().isoformat(), day(106).date().isoformat()]
    promoted = [e for e in seen.island["events"] if e["outcome"] == "promoted" and e["data"] is not None]
    shown = sum(row[2][1] for row in seen.tables["gains"][1:])
    assert shown == pytest.approx(sum(e["data"] for e in promoted))
    assert seen.tables["work"][-1][3][1] == sum(e["steps"] for e in seen.island["events"])
    assert cli("report", "--model", "another").code == 2
    again = cli("report", "--model", "demo", "--out", home / "again.html").code
    assert (again, (home / "again.html").read_bytes()) == (0, page)
