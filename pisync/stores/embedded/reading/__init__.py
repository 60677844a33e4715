"""Reads of the fleets of one process: those that only look, and those that do something.

Part of the embedded store, and imported by it alone.
"""
