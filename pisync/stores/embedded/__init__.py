"""The store of a single process: its state in memory and, if it has a file, in SQLite too.

Imports `model`, `stores.base`, `stores.changes` and `stores.schema`; only `app.py` imports it.
"""
