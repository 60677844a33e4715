"""Accounts of a single process, and the passwords that are tried.

Imports what `stores.embedded` does.
"""
