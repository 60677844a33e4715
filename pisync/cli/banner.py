"""What `pisync serve` tells whoever started it."""

from collections.abc import Sequence

import click

from pisync import __version__
from pisync.web.transport.addresses import url


def banner(
    addresses: Sequence[tuple[str, int]],
    store: str,
    devices: int,
    seed: int,
    drawn_admin_password: str | None,
) -> str:
    """Say where it listens, what it serves, and what to try next.

    `addresses` are hosts and ports, one at least; `devices` and `seed` are the default fleet's. The
    text has colours: print it with `click.echo`, which takes them out where nobody would see them.
    """
    base = url(*addresses[0])
    rows = [
        ("page", f"{base}/ (the dashboard)"),
        ("docs", f"{base}/docs"),
        ("store", store),
        ("fleet", f"default: {devices:,} device{'s' * (devices != 1)}, seed {seed}"),
    ]
    if drawn_admin_password is not None:
        rows.append(("admin", f"password {drawn_admin_password} (drawn now, shown only once)"))
    places = click.style(" and ".join(url(*each) for each in addresses), bold=True)
    table = "\n".join(f"  {click.style(f'{name:<7}', dim=True)}{text}" for name, text in rows)
    return f"""\
PiSync {__version__} listens on {places}

{table}

Next, register, and set TOKEN to the token in the answer:

  curl {base}/register -H 'Content-Type: application/json' \\
    -d '{{"username": "alice", "password": "correct horse"}}'
  curl {base}/devices -H "Authorization: Bearer $TOKEN"
  curl -X POST {base}/devices/2/sync \\
    -H "Authorization: Bearer $TOKEN"
"""
