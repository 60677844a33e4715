"""What a fleet is and how its devices change: pure values and functions, without I/O or a clock.

Imports nothing else of the package; every other room may import it.
"""
