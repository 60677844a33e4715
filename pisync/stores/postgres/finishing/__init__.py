"""Which replica finishes which syncs, and when.

Part of the PostgreSQL store, and imported by it alone.
"""
