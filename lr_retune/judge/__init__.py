"""Paired comparison, gates and attribution arithmetic; all pure."""
