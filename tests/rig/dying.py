"""A family whose fits end the process that makes them, as one does that asks for more memory than there is."""

from __future__ import annotations

import os
import signal

from lr_retune.families.lightgbm import LightGBM
from lr_retune.records import FitData, Fits


class Dying(LightGBM):
    """It lives where it was made."""

    def __init__(self) -> None:
        super().__init__({"num_leaves": 4}, 1)
        self._home = os.getpid()

    def start(self, data: FitData, *, seed: int) -> Fits:
        if os.getpid() != self._home:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().start(data, seed=seed)
