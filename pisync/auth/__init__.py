"""Accounts and tokens: who may log in, how often they may try, and which tokens are refused.

Imports `model`, `stores.base`, `concurrency` and `telemetry`; HTTP is none of its business.
"""
