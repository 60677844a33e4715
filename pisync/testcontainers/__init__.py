"""A PiSync server in a container, for test suites that use Testcontainers.

    with PiSyncContainer() as pisync:
        pisync.client().sync(7)

It needs the extra `testcontainers`, Docker, and the image: docs/testcontainers.md.
"""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from pisync.auth.tokens import Tokens
from pisync.client import FleetClient
from pisync.model.account import DEVICES, SCOPES

__all__ = ["PORT", "PiSyncContainer"]

PORT: Final = 8080
"""The port inside the container."""

_TOKEN_TTL: Final = 86_400
"""Seconds: tokens outlive a day in the debugger."""
# Hashes that cost a millisecond.
_SETTINGS: Final = {"PISYNC_BCRYPT_COST": "4", "PISYNC_TOKEN_TTL": str(_TOKEN_TTL)}


class PiSyncContainer(DockerContainer):
    """A container that is ready when it has started.

    Its secret is drawn here, so that tokens are signed here, too: no account or password is needed.
    """

    def __init__(
        self,
        image: str = "pisync",
        settings: Mapping[str, str] | None = None,
        **container: Any,
    ) -> None:
        """Describe the container.

        Args:
            image: The image's name.
            settings: Variables of the service, `PISYNC_…`.
            container: What `DockerContainer` takes.
        """
        super().__init__(image, **container)
        secret = (settings or {}).get("PISYNC_JWT_SECRET") or token_hex(32)
        self._tokens = Tokens(secret, _TOKEN_TTL)
        self.with_envs(**_SETTINGS | {"PISYNC_JWT_SECRET": secret} | dict(settings or {}))
        self.with_exposed_ports(PORT)
        self.waiting_for(HttpWaitStrategy(PORT, "/readyz"))

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end; known when it has started."""
        return f"http://{self.get_container_host_ip()}:{self.get_exposed_port(PORT)}"

    def token(self, *scopes: str, name: str = "tester", ttl: int | None = None) -> str:
        """Return a token with these scopes (`devices`, `admin`), for `ttl` seconds or a day."""
        return self._tokens.issue(name, scopes, ttl)

    def client(self, fleet: str = "default") -> FleetClient:
        """Return a client for a fleet, whether it is there already or not."""
        return FleetClient(
            self.url,
            fleet,
            token=self.token(DEVICES),
            admin_token=self.token(*SCOPES, name="admin"),
        )
