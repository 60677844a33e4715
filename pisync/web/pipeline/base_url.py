"""A fleet's base URL: `/fleets/{fleet}` in front of the calls that a client of that fleet makes.

For clients that can set nothing but a base URL. What they call so is the same as with the header
`Pisync-Fleet`, and counts as the same call in metrics.
"""

from functools import wraps
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from pisync import keys
from pisync.model.fleet import FLEET_NAME
from pisync.web.contract.rendering import REFERENCES, relative

TEMPLATE: Final = "/fleets/{fleet}"
_PATTERN: Final = f"/fleets/{{fleet:{FLEET_NAME}}}"


class BaseUrlResource(web.DynamicResource):
    """The resource of a call below base URLs.

    Only one spelling of a path is found: a percent-encoded one could mean one fleet to a proxy and
    another to us.
    """

    def __init__(self, path: str) -> None:
        super().__init__(_PATTERN + path)

    async def resolve(
        self, request: web.Request
    ) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Return the route that a request asks for, and the methods that the path supports."""
        if "%" in request.rel_url.raw_path:
            return None, set()
        return await super().resolve(request)


def is_below_base_url(request: web.Request) -> bool:
    """Return whether a request's path is below a fleet's base URL."""
    return isinstance(request.match_info.route.resource, BaseUrlResource)


def call_of(template: str) -> str:
    """Return the template of a call's path, without the base URL that it may be below."""
    return template.removeprefix(TEMPLATE) or "/"


def below_base_url(handler: Handler, path: str, *, reads_fleet: bool) -> Handler:
    """Return the handler of a call below base URLs.

    Args:
        handler: The call's own handler.
        path: The call's path, without the base URL.
        reads_fleet: Whether the call itself finds out that there is no such fleet.
    """

    @wraps(handler)
    async def below(request: web.Request) -> web.StreamResponse:
        if not reads_fleet:
            await request.app[keys.SIMULATOR].queries.fleet(request[keys.FLEET])
        response = await handler(request)
        for name in REFERENCES:
            if name in response.headers:
                response.headers[name] = relative(response.headers[name], path)
        return response

    return below
