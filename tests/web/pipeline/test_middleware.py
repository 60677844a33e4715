import asyncio
import re
from typing import NoReturn

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, web
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from pisync.keys import METRICS, REQUEST_ID
from pisync.stores.errors import NoSuchDevice, StoreUnavailable
from pisync.web.contract.problems import Problem
from tests.support.raw_connection import (
    Lines,
    capture_logs,
    listen_to,
    observed,
)
from tests.support.waiting import eventually

SECRET = "what nobody may see"


async def fine(request: web.Request) -> web.Response:
    return web.json_response({"id": request[REQUEST_ID]})


async def away(_: web.Request) -> NoReturn:
    raise StoreUnavailable


def raising(error: BaseException) -> web.RouteDef:
    async def handler(_: web.Request) -> NoReturn:
        raise error

    return web.get("/", handler)


def counted(app: web.Application, route: str, method: str, status: int) -> bool:
    sample = f'pisync_requests_total{{method="{method}",route="{route}",status="{status}"}} 1.0'
    return sample in app[METRICS].render().decode().splitlines()


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 128])
async def test_a_request_id_of_the_caller_is_kept(
    given: str, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(observed(web.get("/", fine)))
    async with client.get("/", headers={"X-Request-ID": given}) as response:
        assert response.headers.getall("X-Request-ID") == [given]
        assert await response.json() == {"id": given}


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a/b", "ü", "a\tb", '"a"'])
async def test_without_a_good_request_id_there_is_a_new_one(
    given: str | None, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(observed(web.get("/", fine)))
    headers = {} if given is None else {"X-Request-ID": given}
    seen = set()
    for _ in range(3):
        async with client.get("/", headers=headers) as response:
            [request_id] = response.headers.getall("X-Request-ID")
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request_id)
            assert await response.json() == {"id": request_id}
            seen.add(request_id)
    assert len(seen) == 3


@pytest.mark.parametrize("path", ["/", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_answer_has_the_headers_that_all_have(
    method: str, path: str, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(observed(web.get("/", fine)))
    async with client.request(method, path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Request-ID" in response.headers
        assert "Server" not in response.headers


async def test_streams_have_the_headers_too(aiohttp_client: AiohttpClient) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"piece")
        return response

    client = await aiohttp_client(observed(web.get("/", stream)))
    async with client.get("/") as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Request-ID" in response.headers
        assert "Server" not in response.headers
        assert await response.read() == b"piece"


@pytest.mark.parametrize("path", ["/", "/nowhere"])
async def test_head_has_the_headers_of_get_and_no_body(
    path: str, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(observed(web.get("/", fine)))
    same = {"X-Request-ID": "one"}
    async with client.get(path, headers=same) as get, client.head(path, headers=same) as head:
        assert head.status == get.status
        assert await get.read() != b""
        assert await head.read() == b""
        both = ({k: v for k, v in each.headers.items() if k != "Date"} for each in (get, head))
        assert next(both) == next(both)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Problem(409, "No."), 409, "No."),
        (StoreUnavailable(), 503, "The store can't be reached now. Try again."),
        (NoSuchDevice(), 404, "There is no such device in this fleet."),
        (web.HTTPRequestEntityTooLarge(10), 413, "The body is too large."),
        (ValueError(SECRET), 500, "Something went wrong on our side."),
        (TimeoutError(SECRET), 500, "Something went wrong on our side."),
        (ConnectionResetError(SECRET), 500, "Something went wrong on our side."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_errors_are_answered_in_the_one_shape(
    error: Exception, status: int, message: str, aiohttp_client: AiohttpClient
) -> None:
    app = observed(raising(error))
    client = await aiohttp_client(app)
    async with client.get("/") as response:
        assert response.status == status
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert await response.json() == {"message": message}
        assert SECRET not in str(response.headers)
    assert counted(app, "/", "GET", status)


async def test_a_store_that_is_away_says_when_to_try_again(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(observed(raising(StoreUnavailable())))
    async with client.get("/") as response:
        assert int(response.headers["Retry-After"]) >= 1


async def test_an_unexpected_error_is_logged_with_its_request_id(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    error = ValueError("oops")
    client = await aiohttp_client(observed(raising(error)))
    async with client.get("/?password=hunter2", headers={"X-Request-ID": "mine"}):
        pass
    assert lines == [
        {
            "event": "unexpected error",
            "request_id": "mine",
            "exc_info": error,
            "log_level": "error",
        }
    ]


async def test_what_is_answered_as_it_should_be_is_not_logged(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    client = await aiohttp_client(observed(raising(Problem(409, "No."))))
    for path in ("/", "/nowhere"):
        async with client.get(path):
            pass
    assert lines == []


async def test_a_wrong_method_is_told_the_right_ones(aiohttp_client: AiohttpClient) -> None:
    app = observed(web.get("/", fine), web.put("/", fine))
    client = await aiohttp_client(app)
    async with client.post("/") as response:
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "PUT"}
        assert await response.json() == {"message": "This path does not support this method."}
    assert counted(app, "unmatched", "POST", 405)


async def test_a_redirect_stays_one(aiohttp_client: AiohttpClient) -> None:
    app = observed(raising(web.HTTPFound("/docs")))
    client = await aiohttp_client(app)
    async with client.get("/", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/docs"
        assert "X-Request-ID" in response.headers
    assert counted(app, "/", "GET", 302)


async def test_requests_are_counted_by_the_template_of_their_path(
    aiohttp_client: AiohttpClient,
) -> None:
    app = observed(web.get(r"/devices/{id:[0-9]+}", fine))
    client = await aiohttp_client(app)
    for path in ("/devices/7", "/secret-path-8"):
        async with client.get(path):
            pass
    assert counted(app, "/devices/{id}", "GET", 200)
    assert counted(app, "unmatched", "GET", 404)
    assert "secret" not in app[METRICS].render().decode()


async def test_an_error_in_a_stream_cuts_it_off_and_is_logged(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"piece")
        raise ValueError

    lines = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    app = observed(web.get("/", stream))
    client = await aiohttp_client(app)
    async with client.get("/") as response:
        assert response.status == 200
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await response.read()
    assert [line["event"] for line in lines] == ["unexpected error"]
    assert counted(app, "/", "GET", 500)


async def test_a_client_that_has_gone_is_no_error(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    began = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        began.set()
        while True:
            await response.write(b"piece")
            await asyncio.sleep(0.001)

    app = observed(web.get("/", stream))
    client = await aiohttp_client(app)
    response = await client.get("/")
    await began.wait()
    response.close()
    await eventually(lambda: counted(app, "/", "GET", 499))
    assert lines == []


async def test_cancelling_passes_through(aiohttp_client: AiohttpClient) -> None:
    ended = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        began.set()
        try:
            await asyncio.sleep(60)
        except BaseException as exc:
            ended.set_result(type(exc))
            raise
        return web.Response()

    app = observed(web.get("/", handler))
    client = await aiohttp_client(app)  # its server cancels the handlers of those who hang up
    call = asyncio.create_task(client.get("/"))
    await began.wait()
    call.cancel()
    assert await ended is asyncio.CancelledError
    await eventually(lambda: counted(app, "/", "GET", 499))


async def access_lines(
    aiohttp_client: AiohttpClient, *paths: str, access_log: bool = True
) -> Lines:
    with capture_logs() as lines:
        app = observed(
            *(web.get(path, fine) for path in ("/devices/{id}", "/livez")),
            web.get("/readyz", away),
            access_log=access_log,
        )
        client = await aiohttp_client(app)
        for path in paths:
            async with client.get(URL(path, encoded=True), headers={"X-Request-ID": "mine"}):
                pass
    return lines


async def test_the_access_log_has_one_line_a_request_without_its_query(
    aiohttp_client: AiohttpClient,
) -> None:
    [line, other] = await access_lines(aiohttp_client, "/devices/7?token=abc", "/nowhere")
    assert 0 < line.pop("seconds") < 5
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/devices/7",
        "status": 200,
        "request_id": "mine",
    }
    assert (other["path"], other["status"]) == ("/nowhere", 404)


async def test_the_access_log_shows_a_path_as_it_was_sent(aiohttp_client: AiohttpClient) -> None:
    [line] = await access_lines(aiohttp_client, "/devices/%0a%1b%5b2J%ff")
    assert line["path"].lower() == "/devices/%0a%1b%5b2j%ff"


async def test_a_probe_is_logged_only_if_it_finds_something_wrong(
    aiohttp_client: AiohttpClient,
) -> None:
    [line] = await access_lines(aiohttp_client, "/livez", "/readyz")
    assert (line["path"], line["status"]) == ("/readyz", 503)


async def test_without_the_setting_there_is_no_access_log(aiohttp_client: AiohttpClient) -> None:
    assert await access_lines(aiohttp_client, "/devices/7", access_log=False) == []
