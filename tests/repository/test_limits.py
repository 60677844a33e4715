"""docs/limits.md names every bound of the code, with its size."""

import re

from pisync.model import bounds
from pisync.model.bounds import Bound
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/limits.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([0-9,]+)", re.MULTILINE)


def test_every_bound_is_on_the_page_with_its_size() -> None:
    sizes = {value.name: value.size for value in vars(bounds).values() if isinstance(value, Bound)}
    assert len(sizes) > 15
    assert {name: int(size.replace(",", "")) for name, size in ROW.findall(PAGE)} == sizes
