"""Telling people: one message for each cause, after the decision is settled, by channels that may be away."""
