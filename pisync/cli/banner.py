"""What `pisync serve` tells whoever started it."""

from collections.abc import Sequence
from typing import NamedTuple

import click

from pisync import __version__
from pisync.web.transport.addresses import url


class Banner(NamedTuple):
    """Where a server listens, what it serves, and what to try next.

    Attributes:
        addresses: Hosts and ports, one at least.
        store: The store, as anybody may see it.
        devices: How many devices the default fleet has.
        seed: The default fleet's seed.
        drawn_admin_password: The admin's password, if this start has drawn it.
        tls: Whether it is reached by HTTPS.
    """

    addresses: Sequence[tuple[str, int]]
    store: str
    devices: int
    seed: int
    drawn_admin_password: str | None
    tls: bool = False

    def as_text(self) -> str:
        """Return lines with colours.

        `click.echo` takes the colours out where nobody would see them.
        """
        rows = self._rows()
        if self.drawn_admin_password is not None:
            rows["admin"] = self._admin_password()
        places = click.style(self._places(), bold=True)
        table = "\n".join(
            f"  {click.style(f'{name:<7}', dim=True)}{text}" for name, text in rows.items()
        )
        steps = "\n".join(f"  {step}" for step in self._next_steps(" \\\n    "))
        return f"""\
PiSync {__version__} listens on {places}

{table}

Next, register, and set TOKEN to the token in the answer:

{steps}
"""

    def as_json(self) -> str:
        """Return the same as lines of JSON, in the form of the logs."""
        from pisync.telemetry.logs import json_line  # noqa: PLC0415 - the help starts at once

        lines = [
            json_line(
                f"PiSync {__version__} listens on {self._places()} and is ready",
                **self._rows(),
                next=self._next_steps(" "),
            )
        ]
        if self.drawn_admin_password is not None:
            lines.insert(0, json_line(f"admin {self._admin_password()}"))
        return "\n".join(lines)

    def _places(self) -> str:
        return " and ".join(url(*address, tls=self.tls) for address in self.addresses)

    def _base(self) -> str:
        return url(*self.addresses[0], tls=self.tls)

    def _rows(self) -> dict[str, str]:
        base, plural = self._base(), "s" * (self.devices != 1)
        return {
            "page": f"{base}/ (the dashboard)",
            "docs": f"{base}/docs",
            "store": self.store,
            "fleet": f"default: {self.devices:,} device{plural}, seed {self.seed}",
        }

    def _admin_password(self) -> str:
        return f"password {self.drawn_admin_password} (drawn now, shown only once)"

    def _next_steps(self, gap: str) -> list[str]:
        """Return commands to try; `gap` goes where their lines may be broken."""
        base, bearer = self._base(), '-H "Authorization: Bearer $TOKEN"'
        account = '{"username": "alice", "password": "correct horse"}'
        return [
            f"curl {base}/register -H 'Content-Type: application/json'{gap}-d '{account}'",
            f"curl {base}/devices {bearer}",
            f"curl -X POST {base}/devices/2/sync{gap}{bearer}",
        ]
