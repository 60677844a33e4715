"""Where a client can go from an answer, for the documentation: by operation and status."""

from collections.abc import Mapping
from typing import Any

Link = Mapping[str, Any]

_FLEET = {"fleet": "$request.path.fleet"}
_ON_THE_FLEET = {"Pisync-Fleet": "$request.path.fleet"}
_THE_ACCOUNT = {"username": "$response.body#/username"}
_THE_DEVICE = {"device_id": "$response.body#/device_id"}
_DEVICE_OF_FLEET = {"device_id": "$request.path.device_id", **_ON_THE_FLEET}


def _to(operation: str, parameters: Mapping[str, str]) -> Link:
    return {"operationId": operation, "parameters": parameters}


_FROM_FLEET: Mapping[str, Link] = {
    "look": _to("get_fleet", _FLEET),
    "devices": _to("list_devices", _ON_THE_FLEET),
    "sync": _to("sync_devices", _ON_THE_FLEET),
    "clock": _to("put_clock", _FLEET),
    "ledger": _to("get_ledger", _FLEET),
    "delete": _to("delete_fleet", _FLEET),
}

LINKS: Mapping[tuple[str, int], Mapping[str, Link]] = {
    ("register", 201): {"login": {"operationId": "login", "requestBody": "$request.body"}},
    ("list_accounts", 200): {
        "first": _to("get_account", {"username": "$response.body#/0/username"})
    },
    ("get_account", 200): {"change": _to("patch_account", _THE_ACCOUNT)},
    ("list_devices", 200): {
        "first": _to("get_device", {"device_id": "$response.body#/0/device_id"})
    },
    ("get_device", 200): {
        "sync": _to("sync_device", _THE_DEVICE),
        "errors": _to("list_errors", _THE_DEVICE),
    },
    ("sync_device", 202): {
        "result": _to("get_device", _THE_DEVICE),
        "errors": _to("list_errors", _THE_DEVICE),
    },
    ("list_errors", 200): {
        "device": _to("get_device", {"device_id": "$response.body#/0/device_id"}),
        "older": _to("list_errors", {"before": "$response.body#/0/error_id"}),
    },
    ("put_fleet", 200): _FROM_FLEET,
    ("put_fleet", 201): _FROM_FLEET,
    ("put_clock", 200): {
        "advance": _to("advance", _FLEET),
        "settle": _to("settle", _FLEET),
    },
    ("put_script", 204): {
        "sync": _to("sync_device", _DEVICE_OF_FLEET),
        "release": _to("release", {"device_id": "$request.path.device_id", **_FLEET}),
    },
    ("release", 200): {"device": _to("get_device", _DEVICE_OF_FLEET)},
    ("reset_fleet", 204): {"ledger": _to("get_ledger", _FLEET)},
    ("delete_fleet", 204): {"look": _to("get_fleet", _FLEET)},
}
