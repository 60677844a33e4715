"""Reaching the server: its address, what a session needs, poolers in between, and the start.

Nothing here knows a table of PiSync's.
"""
