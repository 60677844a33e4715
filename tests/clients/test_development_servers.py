"""The event stream behind the development servers that pages are made with."""

import time

import pytest
import requests

from pisync.in_process import SETTINGS, running_server
from tests.support.proxies import PROXIES, development_server

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]  # it may have to install packages

SOON = 10
"""Seconds; less than until the first ping, which would let go what was held back."""


@pytest.mark.parametrize("name", PROXIES)
def test_an_event_stream_begins_at_once(name: str) -> None:
    with running_server(SETTINGS) as server, development_server(name, server.url) as url:
        headers = {
            "Authorization": f"Bearer {server.token('devices')}",
            "Accept-Encoding": "gzip, deflate, br",
        }
        requests.get(f"{url}/api/livez", timeout=60).raise_for_status()
        began = time.monotonic()
        with requests.get(f"{url}/api/events", headers=headers, stream=True, timeout=60) as stream:
            assert stream.status_code == 200
            assert stream.raw.read(12) == b": connected\n"
        assert time.monotonic() - began < SOON
