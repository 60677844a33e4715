"""The OpenAPI document, and whether a value is as it says."""

from functools import cache
from typing import Any

from openapi_schema_validator import OAS31Validator

from pisync.web.openapi.document import document

DOCUMENT = document()


@cache
def _validator(schema: str) -> OAS31Validator:
    referring = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return OAS31Validator(referring, format_checker=OAS31Validator.FORMAT_CHECKER)


def faults(value: Any, schema: str) -> list[str]:
    """Return in what a JSON value is not as the document's schema of this name says."""
    return [error.message for error in _validator(schema).iter_errors(value)]
