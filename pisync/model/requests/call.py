"""The calls that faults and the journal are about, by their names."""

from typing import Final

SYNC: Final = "sync"
DEVICE: Final = "device"
BULK: Final = "bulk"
EVENTS: Final = "events"
CALLS: Final = (SYNC, DEVICE, "devices", "errors", "stats", EVENTS, BULK)
"""All of scope `devices`. Only the first two are about one device."""
