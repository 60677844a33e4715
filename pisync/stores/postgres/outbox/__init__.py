"""Changes are committed with their notices, which are sent to all replicas after the commit.

Those that can't listen read them in a table.

Part of the PostgreSQL store, and imported by it alone.
"""
