"""The model that is not loaded: its logged scores, read as the last column of its contract, stand for it."""

from __future__ import annotations

import numpy as np

from lr_retune.records import Contract

SCORE_ONLY = "score_only"


class LoggedScores:
    """Answers with the score that was logged for a row; NaN where none was.

    Parameters
    ----------
    contract
        Its last column holds the logged scores.
    """

    def __init__(self, contract: Contract) -> None:
        self._features = len(contract.columns)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logged scores, shape ``(n,)``."""
        return np.array(x[:, -1], dtype=np.float64)

    def importance(self) -> np.ndarray:
        """Nothing is known of it, shape ``(n_features,)``."""
        return np.zeros(self._features)

    def files(self) -> dict[str, bytes]:
        """None: the registry keeps the model's files, unread."""
        return {}
