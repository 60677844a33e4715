"""Bytes, guided by coverage, into what reads bytes of strangers: tokens, JSON, heads of requests.

    python -m tests.fuzz.parsers -max_total_time=60

Needs atheris (tests/fuzz/requirements.txt). Whatever is raised and is not a refusal ends it.
"""

import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore] # it has no types

with atheris.instrument_imports(include=["pisync", "jwt", "aiohttp_jwt"]):
    import jwt
    import orjson

    from pisync.auth.tokens import (
        Claims,
        InvalidToken,
        Tokens,
    )
    from pisync.web.contract.problems import Problem
    from pisync.web.contract.request import parse_json
    from pisync.web.openapi.examples import BODIES
    from pisync.web.pipeline.auth import Verifier
    from pisync.web.transport.admission import refusal

SECRET = "a secret that only fuzzing knows, long enough"
SCHEMAS = [schema() for schema in BODIES]


def read_token(data: bytes) -> None:
    """Verify a token that is made up, and one that is signed whatever it holds."""
    signed = jwt.api_jws.encode(data, SECRET, "HS256")
    for token in (data.decode("utf-8", "surrogateescape"), signed):
        tokens = Tokens(SECRET, 60, previous_secret=SECRET[::-1])
        try:
            claims = result_of(Verifier(tokens).verify(token))
        except InvalidToken:
            continue
        assert claims.subject, token
        assert tokens.remembered(token) == claims


def result_of(coroutine: Coroutine[Any, Any, Claims]) -> Claims:
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        claims: Claims = end.value
        return claims
    finally:
        coroutine.close()
    raise AssertionError("it waits")


def read_json(data: bytes) -> None:
    """Parse a body, and give it to the schemas; a refusal can be written as JSON."""
    for schema in SCHEMAS:
        try:
            parse_json(schema, data)
        except Problem as refused:
            refused.response()


def refuse_head(data: bytes) -> None:
    """Refuse a request that was not parsed: one answer, and no more than one request."""
    answer, keep = refusal(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert body in (b"", b'{"message":"Too many requests at once. Try again."}')
    assert not keep or data.count(b"\r\n\r\n") >= 1


def fuzz(data: bytes) -> None:
    """Give the same bytes to all."""
    read_token(data)
    read_json(data)
    refuse_head(data)


def seeds() -> Iterator[bytes]:
    """Yield what is well formed, to begin with."""
    yield orjson.dumps({"iss": "pisync", "sub": "a", "scopes": ["devices"], "exp": 4e9, "gen": 1})
    yield b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX-Request-ID: a\r\n\r\n{}"
    yield jwt.encode({"iss": "pisync", "sub": "a", "exp": 4_000_000_000}, SECRET, "HS256").encode()
    for examples in BODIES.values():
        yield from map(orjson.dumps, examples.values())


if __name__ == "__main__":
    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], fuzz)
        atheris.Fuzz()
