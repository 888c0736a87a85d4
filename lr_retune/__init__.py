"""lr-retune: keeps the learning rate of production models right."""

__version__ = "0.1.0"
