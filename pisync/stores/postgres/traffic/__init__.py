"""Fleets that live, on PostgreSQL: when their devices sync by themselves.

Imports what the rest of `stores.postgres` may import, and that.
"""
