"""Load for a server: requests by plan, what came of them, and whether a sync was lost over it.

Imports `client` and the standard library; the command `pisync load` calls it.
"""
