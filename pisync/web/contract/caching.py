"""How long an answer may be kept, and by whom."""

from collections.abc import Mapping
from typing import Final

from pisync.web.contract.headers import FLEET_HEADER

NO_STORE: Final = "no-store"
_VARY: Final = f"Authorization, {FLEET_HEADER}"


def cache_headers(*, tagged: bool, private: bool) -> Mapping[str, str]:
    """Return the headers of an answer that says nothing of caches itself.

    Args:
        tagged: Whether it has an ETag, so that it may be kept if it is asked for each time.
        private: Whether a token bought it: a browser must not show it to those who have none.
    """
    if not private:
        return {"Cache-Control": "no-cache" if tagged else NO_STORE}
    return {"Cache-Control": "private, no-cache" if tagged else NO_STORE, "Vary": _VARY}
