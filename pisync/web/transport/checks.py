"""What is checked of every request before anything else, whichever way it takes then."""

from collections.abc import Awaitable
from http import HTTPStatus

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from pisync.keys import RequestHandler
from pisync.web.contract.problems import Problem
from pisync.web.pipeline.allowed_hosts import AllowedHosts
from pisync.web.transport.aiohttp_internals import (
    CONTINUE,
    BadHttpMessage,
    take_expectation,
    target_root,
)


def checking(
    usual: RequestHandler, ordinary: RequestHandler, hosts: AllowedHosts | None
) -> RequestHandler:
    """Return a handler that checks requests, and hands them to `usual`.

    One whose client waits for a "100 Continue" goes to `ordinary`. Of `hosts`, None stands for any.
    """
    known = hosts.known if hosts is not None else ()

    def checked(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        headers = request.headers
        if request.version is not HttpVersion11 or hdrs.TRANSFER_ENCODING in headers:
            _check_framing(request, headers.get(hdrs.TRANSFER_ENCODING))
        if hosts is not None:
            host = headers.get(hdrs.HOST, "")
            if host not in known:
                hosts.check(host)
        if hdrs.EXPECT in headers:
            if take_expectation(request).lower() != CONTINUE:
                raise Problem(HTTPStatus.EXPECTATION_FAILED, "This Expect header is not supported.")
            return ordinary(request)
        return usual(request)

    return checked


def rooted(handle: RequestHandler) -> RequestHandler:
    """Let `http://host`, and the asterisk of `OPTIONS *`, mean the path `/`."""

    def at_root(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        if request.rel_url.raw_path in ("", "*"):
            target_root(request)
        return handle(request)

    return at_root


def _check_framing(request: web.BaseRequest, coding: str | None) -> None:
    """Refuse what aiohttp's parser lets pass though one server may read it unlike another."""
    version = request.version
    if coding is not None and (version is not HttpVersion11 or coding.lower() != "chunked"):
        raise BadHttpMessage("chunked in HTTP/1.0, which has no chunks, or after another coding")
    if not HttpVersion10 <= version <= HttpVersion11:
        raise BadHttpMessage("neither HTTP/1.0 nor HTTP/1.1")
