"""Snapshots of the fleets of one process.

Part of the embedded store, and imported by it alone.
"""
