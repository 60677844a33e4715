"""What every request passes on its way to a handler: request ids, tokens, CORS, traces.

Imports `web.contract`; handlers do not know it is there.
"""
