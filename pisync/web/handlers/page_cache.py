"""Pages that were rendered before: most are asked for again before they have changed."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from aiohttp import web

from pisync.web.contract.rendering import Rendered

MOST = 128
"""How many pages are kept: of a thousand devices each, they are 20 MB."""


class _Page(NamedTuple):
    version: Hashable
    rendered: Rendered


class PageCache:
    """Rendered pages, by what was asked for; the one that was not used for longest goes first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Hashable, _Page] = OrderedDict()

    def version(self, asked: Hashable) -> Hashable:
        """Return the version of the page that is kept, or None if none is."""
        page = self._pages.get(asked)
        return page and page.version

    def get(self, asked: Hashable, version: Hashable) -> Rendered | None:
        """Return the page, if it is kept in this version."""
        page = self._pages.get(asked)
        if page is None or version is None or page.version != version:
            return None
        self._pages.move_to_end(asked)
        return page.rendered

    def put(self, asked: Hashable, version: Hashable, rendered: Rendered) -> None:
        """Keep a page, if it has a version to know it by."""
        if version is None:
            return
        self._pages[asked] = _Page(version, rendered)
        self._pages.move_to_end(asked)
        if len(self._pages) > MOST:
            self._pages.popitem(last=False)


PAGES = web.AppKey("PAGES", PageCache)
