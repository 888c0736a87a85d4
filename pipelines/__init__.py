"""Prefect flows: schedule, retries, events; no logic of their own."""

from __future__ import annotations

import os

# Prefect and MLflow read these when they are imported; what the environment says already wins.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# A flow without PREFECT_API_URL starts a server for itself: 11 CPU seconds, and the default of 20 s is too short here.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
