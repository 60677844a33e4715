"""What all fleets of one process may hold together, the share of each, and how that is freed.

Part of the embedded store, and imported by it alone.
"""
