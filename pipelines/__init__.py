"""Prefect flows: schedule, retries, events; no logic of their own."""
