"""Logs: one way out, to stderr, for all that PiSync and its libraries log."""

import asyncio
import atexit
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache, partial
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from pisync.model.timestamp import render_once

HIDDEN = "***"

_SECRET_KEY = re.compile(r"password|token|secret|authorization|cookie", re.IGNORECASE)
# A net below that, for what slips into a text: tokens, and the passwords of databases' URLs.
_SECRET_TEXT = re.compile(
    r"\beyJ[\w-]*\.[\w-]*\.[\w-]*|(?<=\bbearer )[^\s'\"]+|(?<=://)[^\s/@:]*:[^\s/@]*(?=@)",
    re.IGNORECASE,
)

# aiohttp-jwt logs a traceback for every bad token; the access log of aiohttp has the query.
_SILENCED = ("aiohttp_jwt", "aiohttp.access", "alembic")


def get_logger() -> FilteringBoundLogger:
    """Return a logger, for `log.info("what happened", key=value)`.

    Until `configure`, it hands everything to the standard library's logger `pisync`: a program that
    runs the server within itself has logs of its own.
    """
    return cast("FilteringBoundLogger", structlog.wrap_logger(None, processors=processors))


def get_event_logger(event: str) -> Callable[..., None]:
    """Return a function that logs `event` at info, for what happens many times a second.

    It takes the event's values by keyword: strings and numbers. As JSON, a line takes a tenth of a
    logger's time, and is written a hundredth of a second later, with others; as text, which is for
    people to read, it takes as long as a logger.
    """
    log = get_logger()
    if not are_json():
        return partial(log.info, event)
    if not log.is_enabled_for(logging.INFO):
        return lambda **_: None
    return _Lines(event, log, structlog.get_config()["logger_factory"]().msg).add


def are_json() -> bool:
    """Say whether events are logged as JSON; so is, then, whatever else the process prints."""
    return isinstance(processors[-1], structlog.processors.JSONRenderer)


def json_line(event: str, **values: object) -> str:
    """Return a line as the logs have it, for what goes elsewhere: nothing is hidden in it."""
    return _lines(event, [(_now(), values)]).decode()


def configure(level: str, form: str) -> None:
    """Log what is at `level` or above, as `text` or as `json`, one line an event.

    With `auto` it is text on a terminal, else JSON. Python's warnings are logged, too.
    """
    on_terminal = sys.stderr.isatty()
    as_text = form == "text" or (form == "auto" and on_terminal)
    processors[:] = [
        structlog.stdlib.add_log_level,
        _add_timestamp,
        structlog.processors.format_exc_info,
        _hide_secrets,
        *(_text(colors=on_terminal) if as_text else [structlog.processors.JSONRenderer()]),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    output = cast("TextIO", _Output(sys.stderr))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    _configure_libraries(threshold, output)


def _configure_libraries(threshold: int, output: TextIO) -> None:
    """Send what aiohttp and asyncio log, through the standard library, the same way."""
    forms = structlog.stdlib.ProcessorFormatter
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        forms(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[forms.remove_processors_meta, *processors],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


_FLUSH_SECONDS = 0.01


_Happening = tuple[int, Mapping[str, object]]
"""When an event happened, in microseconds since 1970, and its values."""


def _lines(event: str, happenings: Iterable[_Happening]) -> bytes:
    """Return a line of JSON for each time that an event happened."""
    objects = [
        {"timestamp": render_once(at), "level": "info", "event": event, **values}
        for at, values in happenings
    ]
    # All in one call: each for itself would take ten times as long. Within a string, a quotation
    # mark follows a backslash, so that objects begin nowhere else.
    return orjson.dumps(objects)[1:-1].replace(_NEXT_OBJECT, _NEXT_LINE)


_NEXT_OBJECT = b'},{"timestamp":"'
_NEXT_LINE = b'}\n{"timestamp":"'


class _Lines:
    """Makes and writes the lines of a hundredth of a second together: a write is a system call.

    Those that wait when the process ends are written then, unless it is killed.
    """

    def __init__(self, event: str, log: FilteringBoundLogger, write: Callable[[str], None]) -> None:
        self._event = event
        self._log = log
        self._write = write
        self._waiting: list[_Happening] = []
        atexit.register(self._flush)

    def add(self, **values: str | float) -> None:
        waiting = self._waiting
        waiting.append((time.time_ns() // 1000, values))
        if len(waiting) == 1:
            try:
                asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush)
            except RuntimeError:  # no loop, no later
                self._flush()

    def _flush(self) -> None:
        happenings, self._waiting = self._waiting, []
        if happenings and not self._write_plain(happenings):
            for moment, values in happenings:
                if not self._write_plain([(moment, values)]):
                    self._log.info(self._event, timestamp=render_once(moment), **values)

    def _write_plain(self, happenings: Sequence[_Happening]) -> bool:
        """Write lines, unless there is perhaps a secret in them, or what is not printable."""
        try:
            lines = _lines(self._event, happenings)
        except orjson.JSONEncodeError:  # a lone surrogate
            return False
        if not lines.isascii() or b"eyJ" in lines or b"://" in lines:
            return False
        self._write(lines.decode())
        return True


class _Output:
    """Writes to a stream. If the disk is full or nobody reads, lines are lost, but no requests."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _add_timestamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # What lines have in common comes first.
    level = event.pop("level")
    moment = event.pop("timestamp", None) or render_once(_now())
    return {"timestamp": moment, "level": level, "event": event.pop("event"), **event}


def _now() -> int:
    return time.time_ns() // 1000


def _hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: _harmless(key, value) for key, value in event.items()}


def _harmless(key: str, value: object) -> Any:
    """Return a value that shows no secret and that every renderer can render."""
    if _names_secret(key):
        return HIDDEN
    match value:
        case str():
            return _harmless_text(value)
        case None | int() | float() if value is None or math.isfinite(value):
            return int(value) if isinstance(value, IntEnum) else value
        case Mapping():
            return {str(name): _harmless(str(name), each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_harmless("", each) for each in value]
        case _:
            return _harmless_text(repr(value))


@lru_cache
def _names_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _harmless_text(text: str) -> str:
    if not text.isascii():
        # JSON has no place for a lone surrogate.
        text = text.encode(errors="backslashreplace").decode()
    return _SECRET_TEXT.sub(HIDDEN, text)


def _text(*, colors: bool) -> list[Processor]:
    # Its repr of strings escapes what would move the cursor or begin a line of its own.
    return [
        _escape,
        structlog.dev.ConsoleRenderer(colors=colors, repr_native_str=True, sort_keys=False),
    ]


def _escape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape control characters where the renderer does not, and set a traceback's lines off."""
    event["event"] = _printable(str(event["event"]))
    if "exception" in event:
        lines = event["exception"].split("\n")
        event["exception"] = "\n".join(f"    {_printable(line)}" for line in lines)
    return event


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _hand_over(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    level = "ERROR" if method == "exception" else method.upper()
    text = _key_values(None, method, event)
    logging.getLogger("pisync").log(logging.getLevelNamesMapping()[level], "%s", text)
    raise structlog.DropEvent


_key_values = structlog.processors.KeyValueRenderer(key_order=["event"])
processors: list[Processor] = [structlog.processors.format_exc_info, _hide_secrets, _hand_over]
"""What every event goes through. Loggers that are there already see it change."""
