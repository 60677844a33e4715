"""Calls that wait in the server until a device, or a whole fleet, has nothing pending any more."""
