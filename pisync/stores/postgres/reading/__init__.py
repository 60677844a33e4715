"""Reads that share queries. Nothing here knows what is read.

Part of the PostgreSQL store, and imported by it alone.
"""
