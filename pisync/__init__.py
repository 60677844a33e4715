"""PiSync: a device-sync backend that stands in for the real one."""

__version__ = "0.1.0"
