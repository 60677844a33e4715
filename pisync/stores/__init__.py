"""Where fleets and accounts are kept: `base` says what a store promises, two folders keep it.

Everyone may import `stores.base`; a concrete store is imported by `app.py` alone.
"""
