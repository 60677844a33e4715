"""Syncs that arrive together: begun together, and answered together.

Imported by `pisync.web.transport` alone.
"""
