"""The OpenAPI document, for other people's tools to read."""

from pathlib import Path

import orjson
import pytest

from tests.support.documented import DOCUMENT


@pytest.fixture
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(orjson.dumps(DOCUMENT))
    return path
