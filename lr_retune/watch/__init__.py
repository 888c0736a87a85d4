"""Ticks' losses, drift and the policy: facts in, decision out."""
