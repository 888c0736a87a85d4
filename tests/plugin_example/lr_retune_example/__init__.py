"""A family, a gate and a transform that lr-retune finds by their entry points."""
