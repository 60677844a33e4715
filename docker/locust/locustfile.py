"""Users of a fleet: they look at devices, sync them, and look again.

All have one token, TOKEN, or the one in the file TOKEN_FILE: a login costs a bcrypt hash, and that
is not what is to be measured. `pisync token --name locust` prints one.
"""

import os
import random
from pathlib import Path

from locust import FastHttpUser, between, task

TOKEN = os.environ.get("TOKEN") or Path(os.environ["TOKEN_FILE"]).read_text().strip()


class Owner(FastHttpUser):
    """Somebody who has devices to sync."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Find out which devices there are."""
        self.client.auth_header = f"Bearer {TOKEN}"
        page = self.client.get("/devices?limit=1000", name="/devices")
        self.devices = [device["device_id"] for device in page.json()]

    def a_device(self) -> str:
        """Return the path of one of the devices."""
        return f"/devices/{random.choice(self.devices)}"  # noqa: S311 - it may be guessed

    @task(5)
    def sync(self) -> None:
        """Sync a device: 202, whether that begins a sync or joins one."""
        self.client.post(f"{self.a_device()}/sync", name="/devices/{device_id}/sync")

    @task(3)
    def look(self) -> None:
        """Look at a device."""
        self.client.get(self.a_device(), name="/devices/{device_id}")

    @task
    def browse(self) -> None:
        """Read a page of devices, and the newest errors."""
        self.client.get("/devices?limit=100", name="/devices")
        self.client.get("/errors?limit=50", name="/errors")

    @task
    def count(self) -> None:
        """Ask for the counts."""
        self.client.get("/stats")
