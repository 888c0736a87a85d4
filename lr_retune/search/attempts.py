"""What a search has tried, when a fit can no longer catch up, and how rough the curve looks from there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lr_retune.records import Fits, SearchOptions, Trial
from lr_retune.search import budget, leader
from lr_retune.search.choose import MOST_TOGETHER, TOGETHER, best
from lr_retune.search.early_stop import NO_FIT, Bar, fit
from lr_retune.search.estimate import behind, relative_error, roughness

# How far a fit may lie behind the leader, as a share of the loss, when it has come so far, as a share of the leader's
# progress at its optimum: over 8,000 pairs of real fits half are pruned, at 7 % of what waiting would have gained.
LOOKS = ((0.5, 0.02), (0.6, 0.01), (0.7, 0.005), (1.0, 0.002), (1.15, 0.0))
# An average, and a cheaper tie, want fits that do not lead trained to their end.
LOOKS_TIED = ((0.7, TOGETHER), (1.0, 2 / 3 * TOGETHER))

KEPT = MOST_TOGETHER  # complete fits in memory: the lowest is not always the one that is taken
Found = list[tuple[Trial, int]]


class Attempts:
    """Trials so far, and the scores on valid of those that tell how rough the curve is."""

    def __init__(self, fits: Fits, options: SearchOptions) -> None:
        self.found: Found = []
        self.options = options
        self._fits = fits
        self._scores: dict[int, np.ndarray | None] = {}  # None: known, but of a search that was killed

    def attempt(self, rate: float) -> None:
        """One more fit, pruned where it cannot catch up; few stay in memory."""
        first = best(self.found)
        looks = LOOKS if self.options.answer == "rate" else LOOKS_TIED
        must = [] if first is None else list(bars(first[0], rate, looks))
        asked = replace(budget.left(self.found, self.options), loss=self._heard)
        trial, handle = fit(self._fits, rate, len(self.found), asked, bars=must)
        self._remember(trial, handle)
        leader.add(self.found, (trial, handle), self._fits, keep=KEPT)

    def _heard(self, score: np.ndarray) -> float:
        """The user's metric; the scores are those of the fit that is being tried."""
        self._scores[len(self.found)] = score
        return self.options.loss(score)

    def _remember(self, trial: Trial, handle: int) -> None:
        """Scores of every complete fit, and of a pruned one to which none lies closer to the leader."""
        closest = self._distances([*self.found, (trial, handle)])[:1]
        if trial.state == "complete":
            self._scores.setdefault(trial.number, None)
        elif closest and closest[0][1] is trial:
            self._scores[trial.number] = None if handle == NO_FIT else self._fits.score(handle, trial.steps)

    def _distances(self, found: Found) -> list[tuple[float, Trial]]:
        """How far each other trial lies behind the leader, closest first."""
        first = best(found)
        others = [] if first is None else [(behind(t, first[0]), t) for t, _ in found if t is not first[0]]
        return sorted(((back, t) for back, t in others if back is not None), key=lambda each: (each[0], each[1].number))

    @property
    def noise(self) -> float:
        """How far luck moves a fit off the curve: as the leader and the trial closest to it differ between rows."""
        first, trials = best(self.found), [trial for trial, _ in self.found]
        near = [t for _, t in self._distances(self.found) if t.number in self._scores]
        if first is None or not near:
            return roughness(trials)
        one, other = self._score(near[0].number), self._score(first[0].number)
        return relative_error(self.options.loss, one, other) or roughness(trials)

    def _score(self, number: int) -> np.ndarray:
        """Scores on valid; a fit that was trained before the search was killed is trained again."""
        score = self._scores[number]
        if score is None:
            trial, handle = self.found[number]
            if handle == NO_FIT:
                handle = self._fits.add(trial.learning_rate, trial.schedule)
            score = self._scores[number] = self._fits.score(handle, trial.steps)
        return score


def bars(first: Trial, rate: float, looks: Sequence[tuple[float, float]]) -> Iterator[Bar]:
    """What a fit must reach to stay in a race with the leader, whose curve is known."""
    lowest_yet = np.minimum.accumulate(first.curve)
    for share, margin in looks:
        loss = float(lowest_yet[min(max(1, int(share * first.steps)), len(lowest_yet)) - 1])
        step = math.ceil(share * first.learning_rate * first.steps / rate)
        told = f"{margin:.1%} behind" if margin else "no gain on"
        note = f"{told} trial {first.number} at {share:g} times the progress of its optimum"
        yield Bar(step, loss + margin * abs(loss), note)
