"""What is vendored is named where audits and the image's list of packages look."""

import json
import re

from tests.support.paths import ROOT
from tools.vendored.__main__ import components

VENDOR = ROOT / "pisync/web/vendor"
NAMED = json.loads((ROOT / "tools/vendored/package.json").read_text())["dependencies"]
BUNDLE = (VENDOR / "swagger-ui/swagger-ui-bundle.js").read_text()


def named_in(text: str) -> tuple[str, str]:
    """Return the name and the version with which a file VERSION begins."""
    found = re.match(r"(\S+) ([0-9.]+),", text)
    assert found, text
    return found[1], found[2]


def test_each_vendored_package_is_named_with_its_version() -> None:
    versions = VENDOR.glob("*/VERSION")
    lying_there = dict(named_in(path.read_text()) for path in versions)
    assert len(lying_there) >= 5
    assert lying_there.items() <= NAMED.items()
    # The rest is bundled, and its code says which version it is.
    bundled = NAMED.keys() - lying_there.keys()
    assert len(bundled) >= 8
    for name in bundled:
        if name != "react":  # which states that of react-dom
            assert f'"{NAMED[name]}"' in BUNDLE, name


def test_the_list_has_a_version_a_licence_and_an_address_of_each() -> None:
    found = {each["name"]: each for each in components()}
    assert found.keys() == NAMED.keys()
    assert found["@picocss/pico"]["purl"] == "pkg:npm/%40picocss/pico@2.1.1"
    for name, each in found.items():
        assert each["version"] == NAMED[name]
        assert re.fullmatch(r"[A-Za-z0-9. -]+", each["licenses"][0]["expression"])


def test_the_lock_names_no_host() -> None:
    assert "resolved" not in (ROOT / "tools/vendored/package-lock.json").read_text()
