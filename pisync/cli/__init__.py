"""The command `pisync`: its subcommands, their options, and what they print.

Imports everything else; only `__main__` imports it.
"""
