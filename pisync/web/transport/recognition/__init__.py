"""What a request is recognized by in front of the parser: its request line and its header lines.

Imported by `pisync.web.transport` alone.
"""
