"""The measured calls in FastAPI: pydantic for input and output, PyJWT for tokens."""

import asyncio
import math
import os
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

SECRET = os.environ["JWT_SECRET"]
OUTCOMES = (
    (200, None),
    (400, "Authentication Failure"),
    (400, "Storage Full"),
    (404, "Server Not Reachable"),
    (500, "Connection Timeout"),
    (500, "Unknown Sync Error"),
)
WEIGHTS = (70, 6, 6, 6, 6, 6)
STATUSES = r"^(200|202|400|404|500)(,(200|202|400|404|500))*$"
MEDIAN_SECONDS = 2.0
MOST_SECONDS = 10.0

Id = Annotated[int, Field(ge=1, le=2**53 - 1)]


class Device(BaseModel):
    """A device, as everyone sees it."""

    device_id: int
    last_sync_at: str | None
    sync_status_code: int
    error_message: str | None
    last_attempt_at: str


class ErrorLog(BaseModel):
    """What a failed attempt leaves behind."""

    error_id: int
    device_id: int
    attempt: int
    sync_status_code: int
    error_message: str
    occurred_at: str


class DevicesQuery(BaseModel):
    """Which page of devices."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(100, ge=1, le=1000)
    after: Id | None = None
    status: str | None = Field(None, pattern=STATUSES)


class ErrorsQuery(BaseModel):
    """Which page of error logs."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(50, ge=1, le=1000)
    before: Id | None = None
    device_id: Id | None = None
    status: int | None = None
    since: str | None = None


class Fleet:
    """A fleet in memory, with a task for each sync."""

    def __init__(self, count: int) -> None:
        now = timestamp()
        self.devices = {
            device_id: Device(
                device_id=device_id,
                last_sync_at=now,
                sync_status_code=200,
                error_message=None,
                last_attempt_at=now,
            )
            for device_id in range(1, count + 1)
        }
        self.attempts = dict.fromkeys(self.devices, 0)
        self.error_logs: deque[ErrorLog] = deque()
        self.by_status = {200: count, 202: 0, 400: 0, 404: 0, 500: 0}
        self.accepted = self.succeeded = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def page(self, query: DevicesQuery) -> tuple[list[Device], int, bool]:
        """Return a page, how many devices there are on all, and whether another follows."""
        after, limit = query.after or 0, query.limit
        if query.status is None:
            last = min(after + limit, len(self.devices))
            devices = [self.devices[each] for each in range(after + 1, last + 1)]
            return devices, len(self.devices), last < len(self.devices)
        statuses = {int(each) for each in query.status.split(",")}
        found = [
            each
            for each in self.devices.values()
            if each.device_id > after and each.sync_status_code in statuses
        ]
        total = sum(self.by_status[each] for each in statuses)
        return found[:limit], total, len(found) > limit

    def sync(self, device: Device) -> int:
        """Begin an attempt, or join the one under way; return its number."""
        device_id = device.device_id
        if device.sync_status_code != 202:
            self.attempts[device_id] += 1
            self.accepted += 1
            self._become(device, 202, None)
            device.last_attempt_at = timestamp()
            task = asyncio.create_task(self._finish_later(device, self.attempts[device_id]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self.attempts[device_id]

    async def _finish_later(self, device: Device, attempt: int) -> None:
        seconds = random.lognormvariate(math.log(MEDIAN_SECONDS), 0.5)
        await asyncio.sleep(min(seconds, MOST_SECONDS))
        ((code, message),) = random.choices(OUTCOMES, WEIGHTS)
        self._become(device, code, message)
        if message is None:
            device.last_sync_at = device.last_attempt_at
            self.succeeded += 1
            return
        log = ErrorLog(
            error_id=len(self.error_logs) + 1,
            device_id=device.device_id,
            attempt=attempt,
            sync_status_code=code,
            error_message=message,
            occurred_at=timestamp(),
        )
        self.error_logs.appendleft(log)

    def _become(self, device: Device, code: int, message: str | None) -> None:
        self.by_status[device.sync_status_code] -= 1
        self.by_status[code] += 1
        device.sync_status_code = code
        device.error_message = message

    def errors(self, query: ErrorsQuery) -> list[ErrorLog]:
        """Return error logs, newest first."""
        found: list[ErrorLog] = []
        for log in self.error_logs:
            if len(found) == query.limit:
                break
            if (
                (query.before is None or log.error_id < query.before)
                and (query.device_id is None or log.device_id == query.device_id)
                and (query.status is None or log.sync_status_code == query.status)
                and (query.since is None or log.occurred_at >= query.since)
            ):
                found.append(log)
        return found


def timestamp() -> str:
    """Return this moment."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


fleet: Fleet


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the fleet."""
    global fleet  # noqa: PLW0603 - as FastAPI's own examples keep what is made at the start
    fleet = Fleet(int(os.environ["DEVICES"]))
    yield


async def authenticate(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> None:
    """Refuse who has no good token."""
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"], issuer="pisync")
    except jwt.InvalidTokenError:
        raise HTTPException(
            401, "The token is not valid.", {"WWW-Authenticate": "Bearer"}
        ) from None
    if "devices" not in claims.get("scopes", ()):
        raise HTTPException(403, "The token lacks the scope devices.")


async def find_device(device_id: Annotated[int, Path(ge=1, le=2**53 - 1)]) -> Device:
    """Return the device that the path names."""
    device = fleet.devices.get(device_id)
    if device is None:
        raise HTTPException(404, "There is no such device.")
    return device


app = FastAPI(lifespan=lifespan, dependencies=[Depends(authenticate)])
FoundDevice = Annotated[Device, Depends(find_device)]


@app.get("/devices")
async def list_devices(query: Annotated[DevicesQuery, Query()], response: Response) -> list[Device]:
    """List a page of devices."""
    devices, total, more = fleet.page(query)
    response.headers["X-Total-Count"] = str(total)
    if more:
        status = f"&status={query.status}" if query.status else ""
        after = devices[-1].device_id
        response.headers["Link"] = (
            f'</devices?limit={query.limit}&after={after}{status}>; rel="next"'
        )
    return devices


@app.get("/devices/{device_id}")
async def get_device(device: FoundDevice) -> Device:
    """Look at a device."""
    return device


@app.post("/devices/{device_id}/sync", status_code=202)
async def sync_device(device: FoundDevice, response: Response) -> Device:
    """Start a sync, or join the one under way."""
    response.headers["Pisync-Attempt"] = str(fleet.sync(device))
    response.headers["Location"] = f"/devices/{device.device_id}"
    return device


@app.get("/errors")
async def list_errors(query: Annotated[ErrorsQuery, Query()]) -> list[ErrorLog]:
    """List error logs, newest first."""
    return fleet.errors(query)


@app.get("/stats")
async def get_stats() -> dict[str, int | dict[int, int]]:
    """Count."""
    failed = len(fleet.error_logs)
    return {
        "devices": len(fleet.devices),
        "pending": fleet.by_status[202],
        "by_status": fleet.by_status,
        "attempts": fleet.accepted,
        "succeeded": fleet.succeeded,
        "failed": failed,
        "error_logs": failed,
    }
