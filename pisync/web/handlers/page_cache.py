"""Pages that were rendered before: most are read again before they have changed."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from aiohttp import web

from pisync.model.bounds import RENDERED_PAGES
from pisync.stores.base import Queries
from pisync.web.contract.rendering import Rendered

PageKey = tuple[str, str, str]
"""A fleet, the path of a list, and its query as it was sent."""


class _Page(NamedTuple):
    version: Hashable
    rendered: Rendered


class PageCache:
    """Rendered pages, by query; the least recently used goes first."""

    def __init__(self, queries: Queries) -> None:
        self._is_current = queries.is_current
        self._pages: OrderedDict[PageKey, _Page] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pages)

    def current(self, key: PageKey) -> Rendered | None:
        """Return the page, if it is kept and the store need not be asked whether it has changed."""
        page = self._pages.get(key)
        if page is None:
            return None
        version, rendered = page
        if not self._is_current(key[0], version):
            return None
        self._pages.move_to_end(key)
        return rendered

    def version(self, key: PageKey) -> Hashable:
        """Return the version of the page that is kept, or None if none is."""
        page = self._pages.get(key)
        return page and page.version

    def get(self, key: PageKey, version: Hashable) -> Rendered | None:
        """Return the page, if it is kept in this version."""
        page = self._pages.get(key)
        if page is None or version is None or page.version != version:
            return None
        self._pages.move_to_end(key)
        return page.rendered

    def put(self, key: PageKey, version: Hashable, rendered: Rendered) -> None:
        """Keep a page, if it has a version to know it by."""
        if version is None:
            return
        self._pages[key] = _Page(version, rendered)
        self._pages.move_to_end(key)
        if len(self._pages) > RENDERED_PAGES.size:
            self._pages.popitem(last=False)


PAGES = web.AppKey("PAGES", PageCache)
