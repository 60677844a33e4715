"""HTTP: what arrives at a socket, what a handler makes of it, and what goes back.

Imports the services behind it through `keys`; only `app.py`, commands and `in_process` import it.
"""
