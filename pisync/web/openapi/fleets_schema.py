"""The JSON Schema of fleet files, made from the schema that they are read by."""

import json
from typing import Any

from apispec import APISpec

from pisync.fleet_files.schema import SCHEMA_KEY, FleetDefinitionSchema
from pisync.model.fleet import FLEET_NAME
from pisync.web.openapi.json_schema import ENUMS, Plugin, name_of

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def fleets_schema() -> Json:
    """Return the JSON Schema (2020-12) of a fleet file."""
    spec = APISpec("PiSync", "", "3.1.0", plugins=[Plugin()])
    for name, schema in ENUMS.items():
        spec.components.schema(name, schema)
    name = name_of(FleetDefinitionSchema)
    spec.components.schema(name, schema=FleetDefinitionSchema)
    # What OpenAPI calls components, JSON Schema calls definitions.
    text = json.dumps(spec.components.schemas).replace("#/components/schemas/", "#/$defs/")
    return {
        "$schema": DIALECT,
        "title": "PiSync fleets",
        "description": "Fleets by name.",
        "type": "object",
        "properties": {SCHEMA_KEY: {"type": "string"}},
        "patternProperties": {f"^{FLEET_NAME}$": {"$ref": f"#/$defs/{name}"}},
        "additionalProperties": False,
        "$defs": json.loads(text),
    }
