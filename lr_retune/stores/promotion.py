"""What the main path asks of the stores: who is champion, what happened, and changing it safely."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url

from lr_retune.config import Config
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import FileModels, MemoryModels, Models
from lr_retune.stores.tidying import Tidying


class Stores(Tidying):
    """One model's ledger, registry and model files, with all that can be asked of them."""

    @classmethod
    def open(cls, config: Config) -> Stores:
        """The ledger and MLflow that the configuration names."""
        from lr_retune.stores.mlflow import MLflowRegistry

        folder = models_folder(config)
        journal = folder / f".search-{config.name}.jsonl"
        return cls(Ledger(config.state_url()), MLflowRegistry(config), FileModels(folder), config, journal)

    @classmethod
    def in_memory(cls, config: Config, models: Models | None = None, *, whole: bool = False) -> Stores:
        """Stores that leave no trace, for replay and tests; several may share model files.

        ``whole``: searches also train what only tells where a gain came from, as those that somebody looks at do.
        """
        made = cls(Ledger("sqlite://"), MemoryRegistry(), models or MemoryModels(), config)
        made.whole = whole
        return made


def models_folder(config: Config) -> Path:
    """Where model files lie: beside a SQLite ledger, else under the configuration's folder."""
    url = make_url(config.state_url())
    if url.drivername.startswith("sqlite") and url.database not in (None, "", ":memory:"):
        file = Path(str(url.database))
        return file.with_name(f"{file.stem}_models")
    return config.root / "lr_retune_models"
