"""Where header lines are remembered, a request acts on the same fleet as where they are parsed."""

from itertools import product

from pisync import keys
from pisync.model.fleet import Generated
from pisync.model.plans.profile import Profile
from tests.support.raw_connection import RawConnection, raw_connection
from tests.support.warm_server import know, warm_server

NAMES = (None, "left", "right")


def request(base: str | None, header: str | None, token: str) -> bytes:
    path = "/stats" if base is None else f"/fleets/{base}/stats"
    named = "" if header is None else f"Pisync-Fleet: {header}\r\n"
    return (
        f"GET {path} HTTP/1.1\r\nHost: a\r\n{named}Authorization: Bearer {token}\r\n\r\n".encode()
    )


def expected(claim: str | None, header: str | None, base: str | None) -> tuple[int, int | None]:
    """Return the status, and how many devices the fleet has."""
    named = {header, base} - {None}
    if claim is not None and named - {claim}:
        return 403, None
    if len(named) > 1:
        return 422, None
    return 200, {"left": 1, "right": 2, "default": 10}[claim or base or header or "default"]


async def asked(connection: RawConnection, sent: bytes) -> tuple[int, int | None]:
    await connection.send(sent)
    answer = await connection.answer()
    return answer.status, answer.json().get("devices")


async def test_header_claim_and_base_url_decide_as_ever() -> None:
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        fleets = warm.app[keys.SIMULATOR].fleets
        await fleets.put("left", Generated(1), Profile(seed=1))
        await fleets.put("right", Generated(2), Profile(seed=1))
        know(warm.app, "a.bound.token", fleet="left")
        tokens = {None: "a.known.token", "left": "a.bound.token"}
        # Round after round: the same header lines come with one base URL and with another.
        for _ in range(4):
            for claim, header, base in product(tokens, NAMES, NAMES):
                answer = await asked(connection, request(base, header, tokens[claim]))
                assert answer == expected(claim, header, base), (claim, header, base)
                is_answered_in_front = warm.front.taken[-1]
                assert answer[0] == 200 or not is_answered_in_front
        taken = warm.front.taken[-len(tokens) * len(NAMES) ** 2 :]
        cells = product(tokens, NAMES, NAMES)
        assert taken == [expected(*cell)[0] == 200 for cell in cells]
