"""The simulator: begins attempts, finishes them when they are due, and publishes what happened.

Imports `model`, `stores.base`, `concurrency` and `telemetry`; `web` calls it.
"""
