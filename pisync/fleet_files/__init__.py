"""Fleet files: fleets described in YAML, JSON or TOML, read and checked with line numbers.

Imports the model and the schemas of `web.contract`; the application, the OpenAPI document and the
commands use it.
"""
