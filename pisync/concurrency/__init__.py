"""Building blocks for asyncio that know nothing of devices: callers who wait for their turn.

Imports the standard library alone; every other room may use it.
"""
