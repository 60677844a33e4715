"""What each call does: a handler parses its request, makes one call, and renders the answer.

Imports `web.contract` and the services behind it; `web.routes` lists every handler.
"""
