"""What bodies may look like, on every call that reads one."""

import gzip
import io
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

import orjson
import pytest
from marshmallow import Schema, fields

from pisync.model.parsing.fields import DeviceIds, ListOf, OneOf, Statuses
from pisync.web.contract.fleet_schemas import FirstDataField
from pisync.web.routes import ROUTES
from tests.conftest import Answer, Api
from tests.support.fleet_lab import FleetLab

pytestmark = pytest.mark.one_way

KIB = 1024
JSON = {"Content-Type": "application/json"}
FLEET = "/admin/fleets/lab"


class Call(NamedTuple):
    """A call with a body, a good one, and the largest in bytes."""

    method: str
    path: str
    body: bytes
    limit: int = 64 * KIB

    async def send(self, api: Api, body: object, **headers: str) -> Answer:
        # As a file, because aiohttp warns of large bytes.
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        return await api.call(self.method, self.path, data=data, headers={**JSON, **headers})


CALLS = (
    Call("POST", "/register", b'{"username":"alice","password":"correct horse"}'),
    Call("POST", "/login", b'{"username":"admin","password":"the admin\'s password"}'),
    Call("POST", "/devices/sync", b'{"device_ids":[1]}', 256 * KIB),
    Call("PUT", FLEET, b'{"devices":3}', 16 * KIB * KIB),
    Call("PATCH", FLEET, b'{"profile":{}}'),
    Call("PUT", f"{FLEET}/clock", b'{"mode":"manual"}'),
    Call("POST", f"{FLEET}/advance", b'{"seconds":1}'),
    Call("PUT", f"{FLEET}/devices/1/script", b'[{"sync_status_code":200}]'),
    Call("POST", f"{FLEET}/devices/2/release", b'{"sync_status_code":200}'),
)
every_call = pytest.mark.parametrize("call", CALLS, ids=[f"{c.method} {c.path}" for c in CALLS])


@pytest.fixture
async def api_with_lab(lab: FleetLab) -> Api:
    """An admin of a service with a fleet, whose device 2 holds a sync."""
    await lab.script(2, {"hold": True})
    await lab.sync(2)
    return lab.api.on(None)


# Bodies


@every_call
async def test_json_is_taken(api_with_lab: Api, call: Call) -> None:
    answer = await call.send(api_with_lab, b" \n" + call.body + b"\t")
    assert answer.status in (200, 201, 202, 204)


@every_call
async def test_what_is_no_json_is_400(
    api_with_lab: Api, call: Call, subtests: pytest.Subtests
) -> None:
    bodies = {
        "nothing": b"",
        "blank": b" \n",
        "cut off": call.body[:-1],
        "more than one": call.body * 2,
        "with a byte order mark": b"\xef\xbb\xbf" + call.body,
        "utf-16": call.body.decode().encode("utf-16"),
        "not utf-8": b'{"\xff":1}',
        "too deep": b"[" * 60_000,
        "too deep in an object": b'{"a":' * 10_000,
        "python": b"{'device_ids': []}",
        "trailing comma": call.body[:-1] + b",}",
        "comment": call.body + b"//",
        "NaN in no place": call.body + b"NaN",
        "NaN": b"NaN",
        "NaN in a list": b"[NaN]",
        "NaN, infinities and a number beyond all": b'{"a":[1e999,NaN,Infinity,-Infinity]}',
        "Infinity": b'{"profile":{"seed":Infinity}}',
    }
    for what, body in bodies.items():
        with subtests.test(what):
            (await call.send(api_with_lab, body)).assert_problem(400)


@every_call
async def test_json_of_another_kind_is_refused(
    api_with_lab: Api, call: Call, subtests: pytest.Subtests
) -> None:
    for body in (b"null", b"true", b"7", b'"text"', b"[]", b"[[]]", b'[{"typo":1}]'):
        with subtests.test(body=body):
            answer = await call.send(api_with_lab, body)
            assert answer.status == 422
            assert set(answer.json) == {"message", "errors"}


@every_call
async def test_another_content_type_is_415(
    api_with_lab: Api, call: Call, subtests: pytest.Subtests
) -> None:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json-patch+json",
        "application/jsonx",
        "application/json, text/plain",
        "*/*",
        "",
    ):
        with subtests.test(content_type):
            answer = await call.send(api_with_lab, call.body, **{"Content-Type": content_type})
            answer.assert_problem(415)


@every_call
async def test_no_content_type_is_415(api_with_lab: Api, call: Call) -> None:
    answer = await api_with_lab.call(
        call.method, call.path, data=call.body, skip_auto_headers=["Content-Type"]
    )
    answer.assert_problem(415)


@every_call
async def test_a_charset_beside_the_type_changes_nothing(
    lab: FleetLab, call: Call, subtests: pytest.Subtests
) -> None:
    for content_type in (
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json ; charset=utf8",
        "application/json; charset=ISO-8859-1",
        "application/json; charset=utf-16",
        "application/json; charset=there-is-none",
        "application/json; odata=verbose",
    ):
        with subtests.test(content_type):
            answer = await call.send(lab.api, call.body, **{"Content-Type": content_type})
            assert answer.status < 300 or answer.status == 409


@every_call
async def test_an_unknown_field_is_named(api_with_lab: Api, call: Call) -> None:
    body = orjson.loads(call.body)
    is_list = isinstance(body, list)
    (body[0] if is_list else body)["typo"] = 1
    answer = await call.send(api_with_lab, orjson.dumps(body))
    answer.assert_problem(422, "0.typo" if is_list else "typo")


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 50_000):
        yield body[first : first + 50_000]


@every_call
@pytest.mark.parametrize("way", ["whole", "chunked", "compressed"])
async def test_a_body_may_be_as_large_as_its_limit_and_no_larger(
    api_with_lab: Api, call: Call, way: str
) -> None:
    async def send(size: int) -> Answer:
        body = call.body + b" " * (size - len(call.body))
        match way:
            case "chunked":
                return await call.send(api_with_lab, _chunks(body))
            case "compressed":
                packed = gzip.compress(body, 1)
                return await call.send(api_with_lab, packed, **{"Content-Encoding": "gzip"})
        return await call.send(api_with_lab, body)

    assert (await send(call.limit)).status < 300
    (await send(call.limit + 1)).assert_problem(413)


BULK = b'{"device_ids":[1]}'


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(BULK)),
        ("GZip", gzip.compress(BULK)),
        ("x-gzip", gzip.compress(BULK)),
        ("gzip", gzip.compress(BULK[:5]) + gzip.compress(BULK[5:]) + gzip.compress(b"")),
        ("deflate", zlib.compress(BULK)),
        ("deflate", zlib.compress(BULK, wbits=-zlib.MAX_WBITS)),
        ("identity", BULK),
        ("", BULK),
    ],
    ids=[
        "gzip",
        "capitals",
        "x-gzip",
        "members",
        "deflate",
        "deflate without a head",
        "identity",
        "nothing",
    ],
)
async def test_a_body_may_be_packed(user: Api, coding: str, packed: bytes) -> None:
    call = Call("POST", "/devices/sync", b"")
    answer = await call.send(user, packed, **{"Content-Encoding": coding})
    assert (answer.status, answer.json["started"]) == (202, 1)


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        ("gzip", b"not compressed"),
        ("gzip", b""),
        ("gzip", gzip.compress(BULK)[:-12]),
        ("gzip", gzip.compress(BULK) + b"more"),
        ("deflate", b""),
        ("deflate", gzip.compress(BULK)),
    ],
    ids=["no gzip", "nothing", "cut off", "more behind it", "nothing, deflated", "gzip as deflate"],
)
async def test_a_body_that_is_broken_is_400(user: Api, coding: str, sent: bytes) -> None:
    call = Call("POST", "/devices/sync", b"")
    answer = await call.send(user, sent, **{"Content-Encoding": coding})
    answer.assert_problem(400)


async def test_of_a_repeated_name_the_last_counts(user: Api) -> None:
    call = Call("POST", "/devices/sync", b"")
    answer = await call.send(user, b'{"device_ids":[1,2,3],"device_ids":[4]}')
    assert answer.json["started"] == 1
    assert (await user.get("/devices/4")).json["sync_status_code"] == 202


# Strings

TEXTS = (
    ("POST", "/register", b'{"username":@,"password":"correct horse"}', "username"),
    ("POST", "/register", b'{"username":"alice","password":@}', "password"),
    ("PUT", f"{FLEET}/clock", b'{"mode":@}', "mode"),
    ("PATCH", FLEET, b'{"profile":{"when_pending":@}}', "profile.when_pending"),
    ("PATCH", FLEET, b'{"profile":{"delay":{"distribution":@}}}', "profile.delay.distribution"),
    (
        "PATCH",
        FLEET,
        b'{"profile":{"outcomes":[{"sync_status_code":500,"weight":1,"error_message":@}]}}',
        "profile.outcomes.0.error_message",
    ),
    (
        "PUT",
        f"{FLEET}/devices/1/script",
        b'[{"sync_status_code":500,"error_message":@}]',
        "0.error_message",
    ),
    (
        "POST",
        f"{FLEET}/devices/2/release",
        b'{"sync_status_code":500,"error_message":@}',
        "error_message",
    ),
    (
        "PUT",
        FLEET,
        b'{"devices":[{"device_id":1,"sync_status_code":500,"error_message":@}]}',
        "devices.0.error_message",
    ),
    ("PUT", FLEET, b'{"devices":[{"device_id":1,"last_sync_at":@}]}', "devices.0.last_sync_at"),
)
every_text = pytest.mark.parametrize(("method", "path", "body", "field"), TEXTS)


@every_text
async def test_nul_and_what_is_no_text_are_refused(
    api_with_lab: Api, method: str, path: str, body: bytes, field: str, subtests: pytest.Subtests
) -> None:
    for text in (b'"with a \\u0000 within"', b'"\\u0000"', b"7", b"true", b"[]", b"{}"):
        with subtests.test(text=text):
            answer = await Call(method, path, b"").send(api_with_lab, body.replace(b"@", text))
            answer.assert_problem(422, field)


@every_text
async def test_a_lone_surrogate_is_refused(
    api_with_lab: Api, method: str, path: str, body: bytes, field: str, subtests: pytest.Subtests
) -> None:
    for text in (b'"\\ud800"', b'"\\udfff"', b'"\xed\xa0\x80"'):
        with subtests.test(text=text):
            answer = await Call(method, path, b"").send(api_with_lab, body.replace(b"@", text))
            assert answer.status in (400, 422)
            assert "message" in answer.json


async def test_a_message_may_be_of_any_script(lab: FleetLab) -> None:
    for message in ("Speicher voll", "存储已满", "🪫", 'Grüße\n\t\\"', "x" * 200, "🪫" * 200):
        outcome = {"sync_status_code": 500, "error_message": message}
        await lab.script(1, {**outcome, "delay": 0})
        await lab.sync(1)
        await lab.settle()
        assert (await lab.device(1))["error_message"] == message
        assert (await lab.errors())[0]["error_message"] == message


# Numbers


class Field(NamedTuple):
    """A field for a number: where it is in a body, and its name in an answer."""

    method: str
    path: str
    body: bytes
    name: str


def _profile(member: bytes, name: str) -> Field:
    return Field("PATCH", FLEET, b'{"profile":{%s}}' % member, f"profile.{name}")


def _delay(members: bytes, name: str) -> Field:
    return _profile(b'"delay":{%s}' % members, f"delay.{name}")


INTEGERS = (
    Field("POST", "/devices/sync", b'{"device_ids":[1,@]}', "device_ids.1"),
    Field("POST", "/devices/sync", b'{"status":[@]}', "status"),
    Field("PUT", FLEET, b'{"devices":@}', "devices"),
    Field("PUT", FLEET, b'{"devices":[{"device_id":@}]}', "devices.0.device_id"),
    Field(
        "PUT",
        FLEET,
        b'{"devices":[{"device_id":1,"sync_status_code":@}]}',
        "devices.0.sync_status_code",
    ),
    Field("PUT", FLEET, b'{"devices":1,"profile":{"seed":@}}', "profile.seed"),
    _profile(b'"seed":@', "seed"),
    _profile(b'"max_pending":@', "max_pending"),
    _profile(b'"outcomes":[{"sync_status_code":@,"weight":1}]', "outcomes.0.sync_status_code"),
    Field("PUT", f"{FLEET}/devices/1/script", b'[{"sync_status_code":@}]', "0.sync_status_code"),
    Field("POST", f"{FLEET}/devices/2/release", b'{"sync_status_code":@}', "sync_status_code"),
)
NUMBERS = (
    _profile(b'"outcomes":[{"sync_status_code":200,"weight":@}]', "outcomes.0.weight"),
    _delay(b'"distribution":"constant","seconds":@', "seconds"),
    _delay(b'"distribution":"uniform","min":@,"max":9', "min"),
    _delay(b'"distribution":"uniform","min":0,"max":@', "max"),
    _delay(b'"distribution":"lognormal","median":@,"sigma":1,"max":9', "median"),
    _delay(b'"distribution":"lognormal","median":1,"sigma":@,"max":9', "sigma"),
    _delay(b'"distribution":"lognormal","median":1,"sigma":1,"max":@', "max"),
    Field("PUT", f"{FLEET}/clock", b'{"mode":"real","speed":@}', "speed"),
    Field("POST", f"{FLEET}/advance", b'{"seconds":@}', "seconds"),
    Field("PUT", f"{FLEET}/devices/1/script", b'[{"sync_status_code":200,"delay":@}]', "0.delay"),
)
NO_NUMBERS = (b"1e999", b"-1e999", b"9" * 400)
NOT_NUMBERS = (*NO_NUMBERS, b"-1", b'"1"', b'""', b"true", b"false", b"null", b"{}", b"[[1]]")
NOT_INTEGERS = (
    *NOT_NUMBERS,
    b"0.5",
    b"1.5",
    b"9007199254740993.5",
    b"9007199254740992",
    b"1" + b"0" * 30,
)


def _is_named(field: str, answer: Answer) -> bool:
    """Whether the field, or one within it, is at fault, and no other."""
    return all(f"{each}.".startswith(f"{field}.") for each in answer.json["errors"])


@pytest.mark.parametrize(
    ("field", "values"),
    [*((field, NOT_INTEGERS) for field in INTEGERS), *((field, NOT_NUMBERS) for field in NUMBERS)],
    ids=[f"{each.path} {each.body.decode()}" for each in (*INTEGERS, *NUMBERS)],
)
async def test_what_is_no_number_in_range_is_refused_and_its_field_named(
    lab: FleetLab, field: Field, values: tuple[bytes, ...], subtests: pytest.Subtests
) -> None:
    await lab.script(2, {"hold": True})
    await lab.sync(2)
    before = [(await lab.api.get(path)).json for path in (lab.path, "/devices", "/stats")]
    for value in values:
        with subtests.test(value=value):
            call = Call(field.method, field.path, b"")
            answer = await call.send(lab.api, field.body.replace(b"@", value))
            assert answer.status == 422
            assert _is_named(field.name, answer)
    after = [(await lab.api.get(path)).json for path in (lab.path, "/devices", "/stats")]
    assert after == before


@pytest.mark.parametrize("field", [*INTEGERS, *NUMBERS])
@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity"])
async def test_what_is_not_even_a_number_is_no_json(
    lab: FleetLab, field: Field, value: bytes
) -> None:
    call = Call(field.method, field.path, b"")
    (await call.send(lab.api, field.body.replace(b"@", value))).assert_problem(400)


@pytest.mark.parametrize("field", INTEGERS, ids=[each.body.decode() for each in INTEGERS])
async def test_an_integer_may_come_as_any_number_whose_value_is_whole(
    lab: FleetLab, field: Field
) -> None:
    await lab.script(2, {"hold": True})
    await lab.sync(2)
    call = Call(field.method, field.path, b"")
    for number in (b"200.0", b"2e2", b"2.0E+2"):
        answer = await call.send(lab.api, field.body.replace(b"@", number))
        assert answer.status in (200, 201, 202, 204, 409), answer.body


@pytest.mark.parametrize("value", [b"-1e999", b"1e999"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call("POST", "/devices/sync", b'{"device_ids":[%s@]}'), "device_ids.30000"),
        (Call("PUT", FLEET, b'{"devices":[%s@]}'), "devices"),
    ],
)
async def test_what_is_no_number_is_named_in_a_large_body_too(
    lab: FleetLab, call: Call, name: str, value: bytes
) -> None:
    many = b"1," * 30_000 + b" " * 40_000
    answer = await call.send(lab.api, call.body.replace(b"%s", many).replace(b"@", value))
    assert answer.status == 422
    if "device_ids" in name:
        answer.assert_problem(422, "device_ids")  # more than there may be
    assert _is_named(name.partition(".")[0], answer)


async def test_text_that_looks_like_what_is_no_number_is_text(lab: FleetLab) -> None:
    message = 'NaN, "Infinity", \\ and -1e999'
    await lab.script(1, {"sync_status_code": 500, "error_message": message, "delay": 0})
    await lab.sync(1)
    await lab.settle()
    assert (await lab.device(1))["error_message"] == message
    # The body is read another way once something in it is no number.
    text = orjson.dumps(message)
    body = b'[{"sync_status_code":500,"error_message":%s,"delay":1e999}]' % text
    answer = await Call("PUT", f"{lab.path}/devices/1/script", b"").send(lab.api, body)
    answer.assert_problem(422, "0.delay")


# Errors


def _many(element: bytes, count: int) -> bytes:
    return b",".join([element] * count)


def _fields(names: Iterable[str]) -> bytes:
    return orjson.dumps(dict.fromkeys(names, 1))


BULK_SYNC = ("POST", "/devices/sync")
MANY_ERRORS = {
    "unknown fields": (*("POST", "/register"), _fields(map(str, range(7_000))), "7002 fields"),
    "long names": (*("POST", "/login"), _fields(f"{n:04000}" for n in range(15)), "17 fields"),
    "names to escape": (
        *("POST", "/login"),
        _fields("\1" * 100 + str(n) for n in range(90)),
        "92 f",
    ),
    "outcomes": (
        *("PATCH", FLEET),
        b'{"profile":{"outcomes":[%s]}}' % _many(b"{}", 1000),
        "2000 f",
    ),
    "too many outcomes": (
        *("PATCH", FLEET),
        b'{"profile":{"outcomes":[%s]}}' % _many(b"{}", 20_000),
        "1 field",
    ),
    "steps": (*("PUT", f"{FLEET}/devices/1/script"), b"[%s]" % _many(b"{}", 1000), "1000 fields"),
    "too many steps": (
        *("PUT", f"{FLEET}/devices/1/script"),
        b"[%s]" % _many(b"{}", 20_000),
        "1 field",
    ),
    "ids": (*BULK_SYNC, b'{"device_ids":[%s]}' % _many(b"0", 10_000), "10000 fields"),
    "too many ids": (*BULK_SYNC, b'{"device_ids":[%s]}' % _many(b"0", 100_000), "1 field"),
    "statuses": (*BULK_SYNC, b'{"status":[%s]}' % _many(b"0", 100_000), "1 field"),
    "scopes": (
        *("PATCH", "/admin/accounts/admin"),
        b'{"scopes":[%s]}' % _many(b'""', 20_000),
        "1 field",
    ),
    "devices": (*("PUT", FLEET), b'{"devices":[%s]}' % _many(b"{}", 700_000), "At least "),
    "few devices": (*("PUT", FLEET), b'{"devices":[%s]}' % _many(b"{}", 500), "500 fields"),
    "numbers for devices": (*("PUT", FLEET), b'{"devices":[%s]}' % _many(b"1e999", 2_700_000), "1"),
}


@pytest.mark.parametrize(("method", "path", "body", "count"), MANY_ERRORS.values(), ids=MANY_ERRORS)
async def test_an_answer_names_20_errors_and_says_how_many_there_are(
    api_with_lab: Api, method: str, path: str, body: bytes, count: str
) -> None:
    began = time.process_time()
    answer = await Call(method, path, b"").send(api_with_lab, body)
    assert time.process_time() - began < 2
    assert answer.status == 422
    assert len(answer.body) <= 8 * KIB
    assert 1 <= len(answer.json["errors"]) <= 20
    assert count in answer.json["message"]


async def test_a_bad_device_at_the_end_of_a_long_list_is_named(api_with_lab: Api) -> None:
    devices = b",".join(b'{"device_id":%d}' % device_id for device_id in range(1, 30_000))
    body = b'{"profile":{"seed":7},"devices":[%s,{"device_id":0}]}' % devices
    answer = await Call("PUT", FLEET, b"").send(api_with_lab, body)
    answer.assert_problem(422, "devices.29999.device_id")


async def test_a_long_list_of_devices_may_stand_anywhere_in_its_body(api_with_lab: Api) -> None:
    devices = [{"device_id": 7 * device_id} for device_id in range(10_000, 0, -1)]
    profile = {"seed": 7, "outcomes": [{"sync_status_code": 200, "weight": 1}]}
    for body in (
        {"devices": devices, "profile": profile},
        {"profile": profile, "devices": devices},
    ):
        answer = await Call("PUT", FLEET, b"").send(api_with_lab, orjson.dumps(body))
        assert answer.status == 200, answer.body
        assert (answer.json["devices"], answer.json["seed"]) == (10_000, 7)
        page = await api_with_lab.on("lab").get("/devices?limit=2")
        assert [device["device_id"] for device in page.json] == [7, 14]


async def test_a_short_list_of_devices_may_stand_before_a_long_profile(api_with_lab: Api) -> None:
    outcome = {"sync_status_code": 500, "error_message": "]}, {" * 10, "weight": 0.5}
    profile = {"seed": 7, "outcomes": [outcome] * 600}
    body = orjson.dumps({"devices": [{"device_id": 5}], "profile": profile})
    body = body.replace(b"[{", b"[" + b" " * 9 * KIB + b"{", 1)
    assert len(body) > 64 * KIB > len(orjson.dumps(profile))
    answer = await Call("PUT", FLEET, b"").send(api_with_lab, body)
    assert (answer.status, answer.json["devices"]) == (200, 1), answer.body


async def test_a_long_list_that_is_elsewhere_is_refused(api_with_lab: Api) -> None:
    devices = _many(b'{"device_id":1}', 10_000)
    put = Call("PUT", FLEET, b"")
    answer = await put.send(api_with_lab, b'{"profile":{"devices":[%s]}}' % devices)
    assert answer.status == 422
    answer = await put.send(api_with_lab, b'{"devices":3,"devicez":[%s]}' % devices)
    answer.assert_problem(413)
    long = b'{"devices":[{"device_id":1}],"profile":[%s]}' % devices
    (await put.send(api_with_lab, long)).assert_problem(413)


def test_every_list_in_a_schema_has_its_length_checked_first() -> None:
    bounded = (ListOf, DeviceIds, Statuses, FirstDataField)
    schemas = [schema for route in ROUTES for schema in (route.query, route.body) if schema]
    found = [field for schema in schemas for field in _fields_of(schema())]
    assert len(found) > 40
    for field in found:
        assert not isinstance(field, fields.List) or isinstance(field, bounded)
        assert not isinstance(field, (fields.Dict, fields.Tuple))
        assert not (isinstance(field, fields.Nested) and field.many)


def _fields_of(schema: Schema) -> Iterator[fields.Field[Any]]:
    """All fields of a schema, those of the schemas within it included."""
    for field in schema.fields.values():
        inner = field.inner if isinstance(field, fields.List) else field
        yield from (field, inner)
        if isinstance(inner, fields.Nested):
            yield from _fields_of(inner.schema)
        if isinstance(inner, OneOf):
            for nested in inner.schemas.values():
                yield from _fields_of(nested)
