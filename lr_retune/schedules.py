"""How a learning rate changes over a fit, as a text and as a formula: ``one_cycle(12)``.

The text stands in trials, candidates and champions and reproduces the fit alone. ``eta0`` is the largest rate of every
schedule but ``optimal``, which has its own. An epoch is one pass over the rows; for boosted trees, a round.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from lr_retune.errors import ConfigError

MOST = 1e6  # epochs, cycles
CUT = 5.0  # what scikit-learn's adaptive divides by
LEAST = 1e-6  # below it, scikit-learn's adaptive ends
NOTHING = 1e-3  # share of eta0 at which a rate that comes down without end is given up
LOW = 0.1  # share of eta0 that a triangle starts from
WARM, START, END = 0.3, 1 / 25, 1 / 25 / 1e4  # one_cycle: share of its way up, first and last share of eta0

Shape = Callable[[np.ndarray, Sequence[float]], np.ndarray]  # (epochs, arguments) → shares of eta0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed schedule; equal where its text is.

    >>> parse("step"), parse("warm_restarts(2,2,3)").horizon, parse("constant").horizon
    (step(4,0.5), 14, None)
    """

    name: str
    args: tuple[float, ...] = ()

    def __str__(self) -> str:
        told = ",".join(f"{value:.12g}" for value in self.args)
        return f"{self.name}({told})" if _KINDS[self.name].defaults is not None else self.name

    __repr__ = __str__

    @property
    def end(self) -> int | None:
        """Epochs until next to nothing is left of its rate and the fit is over; None: it goes on."""
        end = _KINDS[self.name].end
        return None if end is None else end(self.args)

    @property
    def horizon(self) -> int | None:
        """The end, where a fit is good only there, since its rate rises or stays high on the way."""
        return self.end if _KINDS[self.name].waits else None


# ── formulas ──────────────────────────────────────────────────────────────────────────────────────
def _ones(epochs: np.ndarray, _args: Sequence[float]) -> np.ndarray:
    return np.ones_like(epochs)


def _step(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    every, factor = args
    return np.asarray(factor ** np.floor(epochs / every))


def _exponential(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    return np.asarray(0.5 ** (epochs / args[0]))


def _cosine(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    return _falling(np.minimum(epochs / args[0], 1.0))


def _falling(share: np.ndarray) -> np.ndarray:
    """From 1 to 0 along half a wave of the cosine."""
    return np.asarray((1.0 + np.cos(np.pi * share)) / 2.0)


def _warm_restarts(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    first, times, cycles = args
    lengths = first * times ** np.arange(cycles)
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    cycle = np.searchsorted(starts, epochs, side="right") - 1
    return _falling(np.minimum((epochs - starts[cycle]) / lengths[cycle], 1.0))


def _triangular(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    length, cycles = args
    place = np.where(epochs < length * cycles, epochs % length / length, 1.0)
    return LOW + (1.0 - LOW) * (1.0 - np.abs(2.0 * place - 1.0))


def _one_cycle(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    share = np.minimum(epochs / args[0], 1.0)
    up = 1.0 + (START - 1.0) * _falling(np.minimum(share / WARM, 1.0))
    down = END + (1.0 - END) * _falling(np.maximum(share - WARM, 0.0) / (1.0 - WARM))
    return np.where(share < WARM, up, down)


def _plateau(epochs: np.ndarray, args: Sequence[float]) -> np.ndarray:
    return np.asarray(0.5 ** np.searchsorted(np.asarray(args), epochs, side="right"))


# ── names ─────────────────────────────────────────────────────────────────────────────────────────
def _whole(value: float) -> bool:
    return 1 <= value <= MOST and value.is_integer()


def _few(value: float) -> bool:
    return _whole(value) and value <= 20


def _share(value: float) -> bool:
    return 0 < value < 1


def _power(value: float) -> bool:
    return 0 < value <= 4


def _first(args: Sequence[float]) -> int:
    return int(args[0])


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a name stands for."""

    shape: Shape
    defaults: tuple[float, ...] | None = None  # None: it takes no argument
    law: str = ""
    holds: tuple[Callable[[float], bool], ...] = ()
    end: Callable[[Sequence[float]], int] | None = None
    waits: bool = False  # for its end


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "constant": _Kind(_ones),
        "invscaling": _Kind(_ones, (0.25,), "(power), above 0 and at most 4", (_power,)),
        "optimal": _Kind(_ones),
        "adaptive": _Kind(_ones, (2,), "(epochs without gain), a whole number", (_whole,)),
        "step": _Kind(
            _step,
            (4, 0.5),
            "(epochs, factor below 1)",
            (_whole, _share),
            lambda args: int(args[0]) * math.ceil(math.log(NOTHING) / math.log(args[1])),
        ),
        "exponential": _Kind(
            _exponential,
            (4,),
            "(epochs of a halving)",
            (_whole,),
            lambda args: math.ceil(args[0] * -math.log2(NOTHING)),
        ),
        "cosine": _Kind(_cosine, (12,), "(epochs)", (_whole,), _first, waits=True),
        "warm_restarts": _Kind(
            _warm_restarts,
            (2, 2, 3),
            "(epochs of the first cycle, times, at most 20 cycles)",
            (_whole, _whole, _few),
            lambda args: int(sum(args[0] * args[1] ** cycle for cycle in range(int(args[2])))),
            waits=True,
        ),
        "triangular": _Kind(
            _triangular,
            (4, 3),
            "(epochs of a cycle, cycles)",
            (_whole, _whole),
            lambda args: int(args[0] * args[1]),
            waits=True,
        ),
        "one_cycle": _Kind(_one_cycle, (12,), "(epochs)", (_whole,), _first, waits=True),
        "plateau": _Kind(_plateau, (), "(epochs after which the rate was halved, rising)"),
    }
)
NAMES = tuple(_KINDS)
_FORM = re.compile(r"\s*([A-Za-z_0-9]+)\s*(?:\(([^()]*)\)\s*)?")


def parse(text: str) -> Schedule:
    """The schedule that a text names; what its parentheses leave out is filled in.

    Raises
    ------
    ConfigError
        For a name or an argument that means nothing.

    Examples
    --------
    >>> str(parse("one_cycle")), str(parse("step( 3 , .2 )"))
    ('one_cycle(12)', 'step(3,0.2)')
    """
    found = _FORM.fullmatch(text)
    name = found[1] if found else text
    if found is None or name not in _KINDS:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use some of {', '.join(NAMES)}"
        raise ConfigError(f"there is no schedule {text[:80]!r}", fix=hint)
    kind, args = _KINDS[name], _numbers(text, found[2])
    if kind.defaults is None and args:
        raise ConfigError(f"schedule {text[:80]!r} takes no argument", fix=f"write {name!r}")
    args = args or kind.defaults or ()
    if not _lawful(name, kind, args):
        raise ConfigError(
            f"schedule {text[:80]!r} must be {name}{kind.law}", fix=f"e.g. {Schedule(name, kind.defaults or ())}"
        )
    return Schedule(name, tuple(float(value) for value in args))


def _numbers(text: str, inside: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in inside.split(",")) if inside and inside.strip() else ()
    except ValueError:
        raise ConfigError(f"the arguments of schedule {text[:80]!r} must be numbers, separated by commas") from None


def _lawful(name: str, kind: _Kind, args: Sequence[float]) -> bool:
    if not all(map(math.isfinite, args)):
        return False
    if name == "plateau":
        return all(map(_whole, args)) and all(a < b for a, b in pairwise(args))
    return len(args) == len(kind.holds) and all(law(float(value)) for law, value in zip(kind.holds, args, strict=True))


# ── rates ─────────────────────────────────────────────────────────────────────────────────────────
def rates(
    schedule: Schedule | str,
    eta0: float,
    steps: np.ndarray,
    per_epoch: int,
    *,
    alpha: float = math.nan,
    cuts: Sequence[int] = (),
) -> np.ndarray:
    """The rate of each update.

    Parameters
    ----------
    schedule
        The schedule or its text.
    eta0
        The rate that is searched.
    steps
        Updates taken before, shape ``(n,)``: 0 for the first.
    per_epoch
        Updates in an epoch; with boosted trees, 1.
    alpha
        Weight of the penalty; ``optimal`` alone depends on it.
    cuts
        Epochs after which ``adaptive`` divided its rate by 5, see `adaptive_cuts`.

    Returns
    -------
    numpy.ndarray
        Rates, shape ``(n,)``.

    Notes
    -----
    With e epochs behind it and H the horizon:

    - ``constant``, ``invscaling(p)`` (eta0 / (updates + 1)^p) and ``optimal`` (1 / (alpha (t0 + updates)), Bottou's
      rule) are scikit-learn's own [1]_.
    - ``adaptive(n)`` is scikit-learn's too, but gains are counted on valid, not on the training objective less ``tol``.
    - ``step(n,f)``: eta0 f^floor(e/n). ``exponential(n)``: eta0 2^(-e/n).
    - ``cosine(H)``: eta0 (1 + cos(pi e/H)) / 2; ``warm_restarts(first,times,cycles)``: again for each cycle, which is
      ``times`` as long as the one before [2]_.
    - ``triangular(n,cycles)``: from a tenth of eta0 up to eta0 and down again in n epochs [3]_.
    - ``one_cycle(H)``: up from eta0/25 over .3 H, then down to nothing, both along a cosine [4]_, the shares as in
      PyTorch's ``OneCycleLR``.
    - ``plateau(a,b,…)``: eta0, halved after each of these epochs.

    References
    ----------
    .. [1] scikit-learn, ``sklearn/linear_model/_sgd_fast.pyx.tp``
    .. [2] Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017
    .. [3] Smith, Cyclical learning rates for training neural networks, WACV 2017
    .. [4] Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018

    Examples
    --------
    >>> rates("step(1,0.5)", 0.8, np.arange(6), per_epoch=2).tolist()
    [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    """
    found = parse(schedule) if isinstance(schedule, str) else schedule
    done = np.asarray(steps, dtype=np.float64)
    if found.name == "optimal":
        return np.asarray(1.0 / (alpha * (1.0 / (optimal_start(alpha) * alpha) + (1.0 + done) - 1.0)))
    if found.name == "invscaling":
        return np.asarray(eta0 / (1.0 + done) ** found.args[0])
    epochs = done / per_epoch
    if found.name == "adaptive":
        return np.asarray(eta0 / CUT ** np.searchsorted(np.asarray(cuts, dtype=np.float64), epochs, side="right"))
    return np.asarray(eta0 * _KINDS[found.name].shape(epochs, found.args))


def optimal_start(alpha: float) -> float:
    """The first rate of ``optimal``.

    scikit-learn divides it by the loss's gradient at label 1 and a very low score where that is above 1; there
    the gradient of every loss that we allow is negative.
    """
    return math.sqrt(1.0 / math.sqrt(alpha))


def patience(schedule: Schedule | str, wanted: int) -> int:
    """Epochs without gain that end a fit: not before its horizon, nor before a rate that falls in steps fell twice.

    A text that another family understands in its own way is given what is wanted.

    >>> [patience(text, 5) for text in ("constant", "one_cycle(12)", "adaptive(4)", "our_own")]
    [5, 12, 9, 5]
    """
    try:
        found = parse(schedule) if isinstance(schedule, str) else schedule
    except ConfigError:
        return wanted
    if found.name in ("adaptive", "step"):
        return max(wanted, 2 * int(found.args[0]) + 1)
    return max(wanted, found.horizon or 0)


def end(text: str) -> int | None:
    """Epochs until a schedule's rate has come down to next to nothing; None: it goes on, or another family's text.

    >>> end("one_cycle"), end("constant"), end("our_own")
    (12, None, None)
    """
    try:
        return parse(text).end
    except ConfigError:
        return None


def adaptive_cuts(curve: Sequence[float], patience: int) -> tuple[int, ...]:
    """Epochs after which ``adaptive`` divides its rate: ``patience`` epochs without a lower loss, counted anew.

    >>> adaptive_cuts([3, 2, 2, 2, 2, 2, 1, 4, 4], 2)
    (4, 6, 9)
    """
    cuts, best, stalled = [], math.inf, 0
    for epoch, loss in enumerate(curve, 1):
        stalled = 0 if loss < best else stalled + 1
        best = min(best, loss)
        if stalled >= patience:
            cuts.append(epoch)
            stalled = 0
    return tuple(cuts)
