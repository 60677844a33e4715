"""The documents of snapshots: NDJSON, written and read line by line, never as a whole in memory.

Imports the model, and schemas and renderings of `web.contract`; the handlers use it. The format is
documented in docs/snapshots.md.
"""
