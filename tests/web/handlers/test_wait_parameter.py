"""The parameter `wait`: where it is known, and what it may be."""

import pytest

from tests.conftest import Api

REFUSED = (
    *("", "-1", "61", "60.1", "NaN", "nan", "inf", "Infinity", "1e2", "+1", "%201"),
    *("1_0", "1e999", "1e", "01", ".5", "5.", "0x1", "1,5", "\u0663", "true", "1" * 5000),
)


@pytest.mark.parametrize("wait", REFUSED)
@pytest.mark.parametrize("path", ["/devices/1", "/stats"])
async def test_is_refused(user: Api, path: str, wait: str) -> None:
    (await user.get(f"{path}?wait={wait}")).assert_problem(422, "wait")
    (await user.get(f"{path}?wait=1&wait=1")).assert_problem(422, "wait")


@pytest.mark.parametrize("wait", ["0", "60", "0.0", "60.000", "1.5", "0.001", "6e1", "2.4e-192"])
async def test_may_be(user: Api, wait: str) -> None:
    for path in ("/devices/1", "/stats", "/fleets/default/stats"):
        for _ in range(3):
            assert (await user.get(f"{path}?wait={wait}&_=1")).status == 200
            assert (await user.get(f"{path}?w%61it={wait}")).status == 200


async def test_elsewhere_is_an_unknown_parameter(admin: Api) -> None:
    for path in ("/devices", "/errors", "/events", "/admin/fleets", "/admin/fleets/default"):
        (await admin.get(f"{path}?wait=1")).assert_problem(422, "wait")
    (await admin.post("/devices/1/sync?wait=1")).assert_problem(422, "wait")
    (await admin.post("/devices/sync?wait=1", {"all": True})).assert_problem(422, "wait")
