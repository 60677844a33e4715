"""Changes are committed with their notices, which are sent to all replicas after the commit.

Part of the PostgreSQL store, and imported by it alone.
"""
