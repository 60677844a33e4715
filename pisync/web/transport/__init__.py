"""Sockets: listening, admission, the fast path in front of the application, and draining.

Imports the rest of `web`; only `app.py`, the commands and `in_process` import it.
"""
