"""From JSON to the model's values: marshmallow fields and schemas, and the errors of a value.

Imports the rest of the model; the settings and `web.contract` use it.
"""
