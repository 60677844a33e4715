"""Settings: every `PISYNC_*` variable, how it is read, and the secret that signs tokens.

Imports `model` alone; nothing else in the package reads the environment.
"""
