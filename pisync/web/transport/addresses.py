"""The URLs by which this machine reaches what listens on an address."""

from ipaddress import ip_address


def url(host: str, port: int, *, tls: bool = False) -> str:
    """Return the URL by which this machine reaches what listens on an address or a host name."""
    reachable, scheme = reachable_host(host), "https" if tls else "http"
    return (
        f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
    )


def reachable_host(host: str) -> str:
    """Return a host to connect to: the loopback where `host` means every address there is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
