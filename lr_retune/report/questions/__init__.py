"""The eight questions that every decision's page answers, each in a module of its own."""

from lr_retune.report.blocks import Case, Section
from lr_retune.report.questions import cost, gain, gate, rate, slices, tried, undo, why


def answered(case: Case) -> tuple[Section, ...]:
    """All eight, in the order in which people ask them."""
    return tuple(room.section(case) for room in (why, tried, cost, rate, gate, slices, gain, undo))
