"""Snapshots of the fleets that replicas share.

Part of the PostgreSQL store, and imported by it alone.
"""
