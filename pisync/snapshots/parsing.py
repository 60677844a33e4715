"""Parsing documents: lines in their order become the parts of a snapshot."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from marshmallow import Schema

from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import LOGGED, DeviceSpec, Generated, Ledger, Listed
from pisync.model.parsing.errors import InvalidValue, load
from pisync.model.parsing.faults import FaultsBody
from pisync.model.plans.polls import Polls
from pisync.model.requests.fault import MAX_REQUEST_COUNTERS, MAX_RULES, FaultRule
from pisync.model.snapshot import DeviceScript, RequestCount, SnapshotHead, SnapshotPart
from pisync.model.timestamp import LATEST
from pisync.snapshots.lines import WrongLine, read_device, read_error_log
from pisync.snapshots.schemas import (
    EndSchema,
    HeadSchema,
    RequestCountSchema,
    ScriptLineSchema,
)
from pisync.web.contract.fleet_schemas import DeviceSpecSchema

MAX_LISTED: Final = 1_000_000
"""Listed devices, which a store keeps twice: about as many as the body of a `PUT` may list."""
_END: Final = "end"


class DocumentParser:
    """Parses a document, some lines at a time.

    Attributes:
        fleet: The fleet's name, once the first line was parsed.
        size: How many devices it has, likewise.
        head: The head of the snapshot, once nothing can be added to it.
        is_complete: Whether the last line was parsed.
    """

    def __init__(self) -> None:
        self.fleet = ""
        self.size: int | None = None
        self.head: SnapshotHead | None = None
        self.is_complete = False
        self._number = 0
        self._digest = sha256()
        self._kind = 0
        self._fields: Mapping[str, Any] = {}
        self._specs: list[DeviceSpec] = []
        self._first_logs: list[ErrorLog] = []
        self._rules: list[FaultRule] = []
        self._ids: Sequence[int] = ()
        self._last_device = 0
        self._last_script = 0
        self._last_counter: int | None = None
        self._pending = 0
        self._next_error = 1
        self._request_counts = 0
        self._devices: list[Device] = []
        self._scripts: list[DeviceScript] = []
        self._error_logs: list[ErrorLog] = []
        self._counts: list[RequestCount] = []
        self._moments: dict[int, int] = {}
        self._polls: dict[int, Polls] = {}
        self._readers: Sequence[tuple[str, Callable[[Any], None]]] = (
            ("first_device", self._read_first_device),
            ("first_error_log", self._read_first_error_log),
            ("fault", self._read_fault),
            ("device", self._read_device),
            ("script", self._read_script),
            ("error_log", self._read_error_log),
            ("request_count", self._read_request_count),
            (_END, self._read_end),
        )
        self._places = {kind: place for place, (kind, _) in enumerate(self._readers)}
        self._last_of_head = self._places["fault"]

    def parse(self, lines: Sequence[bytes]) -> SnapshotPart:
        """Parse the next lines; return what they add to the snapshot.

        Raises:
            InvalidValue: One is not valid.
        """
        for line in lines:
            self._number += 1
            try:
                self._parse(line)
            except WrongLine as exc:
                raise self._wrong(str(exc)) from None
            except InvalidValue as exc:
                raise self._wrong(*_texts(exc)) from None
        part = SnapshotPart(
            self._devices,
            self._scripts,
            self._error_logs,
            self._counts,
            self._moments,
            self._polls,
        )
        self._devices, self._scripts, self._error_logs, self._counts = [], [], [], []
        self._moments, self._polls = {}, {}
        return part

    def too_long(self, limit: int) -> InvalidValue:
        """Return the error for a next line of more than `limit` bytes."""
        self._number += 1
        return self._wrong(f"Must have at most {limit} bytes.")

    def cut_off(self) -> InvalidValue:
        """Return the error for a document that ends too early."""
        self._number += 1
        return self._wrong(f"The document ends before its last line, `{_END}`.")

    def _wrong(self, *texts: str) -> InvalidValue:
        return InvalidValue({f"line {self._number}": list(texts)}, 1)

    def _parse(self, line: bytes) -> None:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise WrongLine("Not JSON.") from None
        if self.size is None:
            self._read_head(value)
        else:
            self._read(value)
        self._digest.update(line)
        self._digest.update(b"\n")

    def _read(self, line: Any) -> None:
        if type(line) is not dict or len(line) != 1:
            raise WrongLine("Must be an object with one member, which says what it is.")
        ((kind, content),) = line.items()
        place = self._places.get(kind, -1)
        if self.is_complete:
            raise WrongLine(f"Nothing may follow the line `{_END}`.")
        if place < self._kind:
            kinds = [kind for kind, _ in self._readers[self._kind :]]
            raise WrongLine(f"Must be one of these here: {', '.join(kinds)}.")
        if place > self._last_of_head and self.head is None:
            self._complete_head()
        self._kind = place
        self._readers[place][1](content)

    # The head

    def _read_head(self, value: Any) -> None:
        self._fields = fields = load(_HEAD, value)
        if fields["listed"] and fields["devices"] > MAX_LISTED:
            raise WrongLine(f"devices: Must be at most {MAX_LISTED} where they are listed.")
        self.fleet, self.size = fields["fleet"], fields["devices"]

    def _read_first_device(self, value: Any) -> None:
        spec: DeviceSpec = load(_SCHEMAS["first_device"], value)
        if not self._fields["listed"] or len(self._specs) == self.size:
            raise WrongLine(f"The fleet has {self.size} devices, none beyond them listed.")
        if self._specs and self._specs[-1].device_id >= spec.device_id:
            raise WrongLine("device_id: Must be above the one before it.")
        self._specs.append(spec)

    def _read_first_error_log(self, value: Any) -> None:
        log = read_error_log(value)
        if log.error_id != len(self._first_logs) + 1:
            raise WrongLine(f"error_id: Must be {len(self._first_logs) + 1}.")
        if len(self._first_logs) >= len(self._specs):
            raise WrongLine("There are more of them than devices.")
        self._first_logs.append(log)

    def _read_fault(self, value: Any) -> None:
        if len(self._rules) == MAX_RULES:
            raise WrongLine(f"There may be at most {MAX_RULES} rules.")
        self._rules += load(FaultsBody(), [value])

    def _complete_head(self) -> None:
        fields = self._fields
        if fields["listed"]:
            if len(self._specs) != self.size:
                raise WrongLine(f"Only {len(self._specs)} of {self.size} devices are listed.")
            self._ids = array("q", [spec.device_id for spec in self._specs])
        else:
            self._ids = range(1, fields["devices"] + 1)
        for log in self._first_logs:
            self._check_device(log.device_id)
        # Those between the first data's and the oldest that is kept have gone.
        written = fields["counts"].get(LOGGED, 0)
        self._next_error = len(self._first_logs) + written - fields["error_logs"] + 1
        self.head = SnapshotHead(
            fleet=self.fleet,
            first=(
                Listed(self._specs, self._first_logs)
                if fields["listed"]
                else Generated(fields["devices"])
            ),
            profile=fields["profile"],
            clock=fields["clock"],
            made_at=fields["made_at"],
            started_at=fields["started_at"],
            counts=fields["counts"],
            error_logs=fields["error_logs"],
            journal=fields["journal"],
            ttl=fields["ttl"],
            faults=self._rules,
            live_since=fields["live_since"],
        )

    # What follows it

    def _check_device(self, device_id: int) -> None:
        if isinstance(self._ids, range):
            is_there = device_id in self._ids
        else:
            place = bisect_left(self._ids, device_id)
            is_there = place < len(self._ids) and self._ids[place] == device_id
        if not is_there:
            raise WrongLine("device_id: The fleet has no such device.")

    def _read_device(self, value: Any) -> None:
        device, moment, polls = read_device(value)
        if device.device_id <= self._last_device:
            raise WrongLine("device_id: Must be above the one before it.")
        self._check_device(device.device_id)
        self._last_device = device.device_id
        self._pending += device.is_pending
        self._devices.append(device)
        if polls is not None:
            self._polls[device.device_id] = polls
        if moment is not None:
            if self._fields["live_since"] is None:
                raise WrongLine("own_sync_at: The fleet's devices do not sync by themselves.")
            self._moments[device.device_id] = moment

    def _read_script(self, value: Any) -> None:
        script: DeviceScript = load(_SCHEMAS["script"], value)
        if script.device_id <= self._last_script:
            raise WrongLine("device_id: Must be above the one before it.")
        self._check_device(script.device_id)
        self._last_script = script.device_id
        self._scripts.append(script)

    def _read_error_log(self, value: Any) -> None:
        log = read_error_log(value)
        if log.error_id != self._next_error:
            raise WrongLine(f"error_id: Must be {self._next_error}.")
        self._check_device(log.device_id)
        self._next_error += 1
        self._error_logs.append(log)

    def _read_request_count(self, value: Any) -> None:
        if self._request_counts == MAX_REQUEST_COUNTERS + MAX_RULES:
            raise WrongLine(f"There may be at most {self._request_counts} of them.")
        count = RequestCount(**load(_SCHEMAS["request_count"], value))
        if self._last_counter is not None and count.counter <= self._last_counter:
            raise WrongLine("counter: Must be above the one before it.")
        self._last_counter = count.counter
        self._request_counts += 1
        self._counts.append(count)

    def _read_end(self, value: Any) -> None:
        end = load(_SCHEMAS[_END], value)
        if end["lines"] != self._number - 1:
            raise WrongLine(f"lines: There are {self._number - 1} before this one.")
        if end["sha256"] != self._digest.hexdigest():
            raise WrongLine("sha256: The lines before this one are not as they were written.")
        counts = self._fields["counts"]
        if self._next_error != len(self._first_logs) + counts.get(LOGGED, 0) + 1:
            raise WrongLine(f"Error logs are missing: {self._fields['error_logs']} were announced.")
        if not Ledger.of(counts, self._pending, 0).balanced:
            raise WrongLine("The counts in the first line do not balance with the devices.")
        self.is_complete = True


_HEAD: Final = HeadSchema()
_SCHEMAS: Final[Mapping[str, Schema]] = {
    # They were checked when the fleet was made, perhaps by another clock than this machine's.
    "first_device": DeviceSpecSchema(now=lambda: LATEST),
    "script": ScriptLineSchema(),
    "request_count": RequestCountSchema(),
    _END: EndSchema(),
}


def _texts(refused: InvalidValue) -> list[str]:
    return [
        text if field == "body" else f"{field}: {text}"
        for field, texts in refused.errors.items()
        for text in texts
    ]
