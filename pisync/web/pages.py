"""What a person opens in a browser."""

from aiohttp import web


async def home(_request: web.Request) -> web.StreamResponse:
    """Lead to the documentation."""
    raise web.HTTPFound("/docs")
