"""Pages that were rendered before: most are read again before they have changed."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from aiohttp import web

from pisync.model.bounds import RENDERED_PAGES
from pisync.web.contract.rendering import Rendered


class _Page(NamedTuple):
    version: Hashable
    rendered: Rendered


class PageCache:
    """Rendered pages, by query; the least recently used goes first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Hashable, _Page] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pages)

    def version(self, query: Hashable) -> Hashable:
        """Return the version of the page that is kept, or None if none is."""
        page = self._pages.get(query)
        return page and page.version

    def get(self, query: Hashable, version: Hashable) -> Rendered | None:
        """Return the page, if it is kept in this version."""
        page = self._pages.get(query)
        if page is None or version is None or page.version != version:
            return None
        self._pages.move_to_end(query)
        return page.rendered

    def put(self, query: Hashable, version: Hashable, rendered: Rendered) -> None:
        """Keep a page, if it has a version to know it by."""
        if version is None:
            return
        self._pages[query] = _Page(version, rendered)
        self._pages.move_to_end(query)
        if len(self._pages) > RENDERED_PAGES.size:
            self._pages.popitem(last=False)


PAGES = web.AppKey("PAGES", PageCache)
