"""What all fleets of one process may hold together, and each fleet's share of it.

Part of the embedded store, and imported by it alone.
"""
