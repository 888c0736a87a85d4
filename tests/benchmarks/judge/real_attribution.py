"""How often a rate is said to have brought something where both arms have the same rate: real rows, other seeds.

Small LightGBM models with bagging are fitted by many seeds on windows of the shared sets; two disjoint bundles of
three play control and challenger, another fit the champion, on later rows that nothing was tuned on. Whatever is
claimed of the rate is false. Bar: 5 % of all claims of either sign, over all sets.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from lr_retune.families.lightgbm import LightGBM
from lr_retune.judge.attribution import Arm, origin
from lr_retune.judge.corners import corners
from lr_retune.metrics import loss_for
from lr_retune.records import FitData, FittedModel, HoldoutScores
from tests.benchmarks.search.streams import DATA, SETS, episodes

FITS, TIMES, DRAWS, SEEDS = 13, 6, 40, 3
PARAMS = {"num_leaves": 7, "min_data_in_leaf": 20, "bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.7}
ROUNDS, RATE = 60, 0.1


def table(quick: bool) -> str:
    """One line a set; all of them last."""
    if not DATA.exists():
        return f"{DATA} is not there"
    names = ["bank_marketing"] if quick else sorted(SETS)
    lines = ["set                  windows  ticks  seed sd  false gains  false costs  either (<= 5 %)"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found[name] = claims(name, 1 if quick else TIMES, Path(folder))
            lines.append(_line(name, *found[name]))
    every = np.concatenate([told for told, *_ in found.values()])
    lines.append(f"{'all':<45}{_shares(every)}")
    return "\n".join(lines)


def claims(name: str, times: int, folder: Path) -> tuple[np.ndarray, int, int, float]:
    """Signs of what was claimed ``(draws,)``, windows, ticks of the last, and the seed's part of the loss."""
    told, ticks, spread, windows = [], 0, [], 0
    for episode in episodes(name, "lightgbm", times, folder):
        fits = [_fit(episode.data, seed) for seed in range(FITS)]
        later, loss = episode.later, loss_for(episode.config.metric)
        scores = [fit.predict(later.x) for fit in fits]
        both = HoldoutScores(later.y, later.tick, scores[0], scores[0], arms={"old_rows": tuple(scores)})
        arms, weights = corners(both, loss, same_rate=False)
        one, ticks, windows = arms["old_rows"], len(weights), windows + 1
        spread.append(float(one.losses.std(ddof=1) / one.losses.mean()))
        rng = np.random.default_rng(episode.seed)
        told += [_claim(one, rng.permutation(FITS), weights) for _ in range(DRAWS)]
    return np.array(told), windows, ticks, float(np.median(spread))


def _claim(fits: Arm, order: np.ndarray, weights: np.ndarray) -> int:
    taken = {"champion": order[:1], "control": order[1 : 1 + SEEDS], "challenger": order[1 + SEEDS : 1 + 2 * SEEDS]}
    arms = {name: Arm(fits.losses[which], fits.ticks[which]) for name, which in taken.items()}
    found = origin(arms, weights, alpha=0.025, seed_matters=True)
    if found is None or not found.effects["rate"].claimed:
        return 0
    return 1 if (found.effects["rate"].value or 0.0) > 0 else -1


def _fit(data: FitData, seed: int) -> FittedModel:
    fits = LightGBM(PARAMS, 1).start(data, seed=seed)
    handle = fits.add(RATE)
    fits.advance([handle], ROUNDS)
    return fits.finish(handle, ROUNDS)


def _shares(told: np.ndarray) -> str:
    gain, cost, both = (100 * float(np.mean(each)) for each in (told > 0, told < 0, told != 0))
    return f"{gain:10.1f} % {cost:10.1f} % {both:14.1f} %"


def _line(name: str, told: np.ndarray, windows: int, ticks: int, spread: float) -> str:
    return f"{name:<20} {windows:7} {ticks:6} {100 * spread:6.2f} %  {_shares(told)}"
