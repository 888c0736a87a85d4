"""One decision as Markdown: the page's words and tables without its pictures, for screens that show text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lr_retune.report.blocks import Block, Case, Commands, Note, Section, Table
from lr_retune.report.headline import headline
from lr_retune.report.questions import answered
from lr_retune.report.questions.undo import urgent

_ROWS = 12  # of a table: the page has all of them
_SENTENCE = 60  # characters
Escape = Callable[[str], str]


def decision_markdown(case: Case, escape: Escape, outcome: str = "") -> str:
    """The eight answers with their tables; folded tables stay on the page.

    Parameters
    ----------
    escape
        What makes text inert in the Markdown of the screen that shows it.
    outcome
        The word at the top, where the screen has one of its own.
    """
    head = headline(case)
    lines = [f"## {escape(case.model)}: {escape(outcome or head.word)}", "", f"**{escape(head.sentence)}**"]
    lines += ["", escape(head.lead)] if head.lead else []
    shown = [(name, value, beside) for name, value, beside in head.figures]
    lines += ["", *grid(("", "", "held against"), shown, escape)] if shown else []
    lines += _block(Commands(todo), escape) if (todo := urgent(case)) else ()
    for section in answered(case):
        lines += ["", *_section(section, escape)]
    return "\n".join(lines) + "\n"


def grid(head: Sequence[str], rows: Iterable[Sequence[Any]], escape: Escape) -> Iterator[str]:
    """A table of texts."""
    yield "| " + " | ".join(escape(name) for name in head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(escape(str(cell)) for cell in row) + " |"


def _section(section: Section, escape: Escape) -> Iterator[str]:
    yield f"### {escape(section.title)}"
    yield ""
    yield escape(section.answer)
    for block in section.blocks:
        yield from _block(block, escape)


def _block(block: Block, escape: Escape) -> Iterator[str]:
    if isinstance(block, Note):
        yield from ("", escape(block.text))
    elif isinstance(block, Commands):
        yield ""
        yield from (f"- {_code(line)}: {escape(what)}" for line, what in block.lines)
    elif isinstance(block, Table) and not block.folded:
        yield from ("", f"*{escape(block.caption)}*", "")
        rows = [[cell.text for cell in row] for row in block.rows[:_ROWS]]
        yield from _listed(rows, escape) if _wordy(block) else grid(block.head, rows, escape)
        if len(block.rows) > _ROWS:
            yield from ("", escape(f"and {len(block.rows) - _ROWS} more rows on the page"))


def _wordy(table: Table) -> bool:
    """Whether its last column holds sentences, which a screen that does not wrap cells would cut."""
    return len(table.head) <= 4 and any(len(row[-1].text) > _SENTENCE for row in table.rows)


def _listed(rows: Iterable[Sequence[str]], escape: Escape) -> Iterator[str]:
    for *names, sentence in rows:
        yield f"- **{escape(', '.join(names))}**: {escape(sentence)}"


def _code(command: str) -> str:
    """A command to copy: nothing in it ends the code or the line."""
    return "`" + "".join(c for c in command if c.isprintable()).replace("`", "'") + "`"
