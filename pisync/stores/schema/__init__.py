"""The database schema: tables, their migrations, and how values become columns and back.

Imports `model` alone; both kinds of store import it.
"""
