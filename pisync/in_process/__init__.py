"""A server inside this process, in a thread of its own: what the pytest plugin is made of.

Imports `app` and `client`; users import `running_server` from here.
"""

from pisync.in_process.server import SEED, SETTINGS, RunningServer, running_server

__all__ = ["SEED", "SETTINGS", "RunningServer", "running_server"]
