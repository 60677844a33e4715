"""What attempts come to: the profile that decides it, the draws from its seed, and scripts.

Imports the rest of `model`, and nothing else of the package.
"""
