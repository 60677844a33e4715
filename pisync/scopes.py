"""What a token may open."""

from typing import Final

DEVICES: Final = "devices"
"""Devices, their error logs and their events."""
ADMIN: Final = "admin"
"""Fleets, the simulator, and accounts."""
SCOPES: Final = (DEVICES, ADMIN)
"""Every scope, in the order in which they are listed."""
