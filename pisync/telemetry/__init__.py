"""What a running server tells its operators: log lines and metrics.

Imports `model` alone, so that every other room may use it.
"""
