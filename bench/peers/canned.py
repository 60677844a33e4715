"""The answers that the two limits give: recorded from PiSync, found by the request's target."""

import json
import os
from pathlib import Path
from typing import NamedTuple

JSON_TYPE = "application/json; charset=utf-8"


class Canned(NamedTuple):
    """An answer."""

    status: int
    body: bytes


def answers() -> tuple[dict[str, Canned], Canned]:
    """Return the answers to GET by target, and the one to every POST."""
    recorded = json.loads(Path(os.environ["ANSWERS"]).read_text())
    posted = Canned(202, recorded.pop("POST").encode())
    return {target: Canned(200, body.encode()) for target, body in recorded.items()}, posted
