"""The writer that commits in groups, and the SQLite file that it writes.

Imports `stores.schema` and the rest of `stores.embedded`; only `app` may name it.
"""
