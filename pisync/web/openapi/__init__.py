"""The OpenAPI document, made from the routes, their schemas and the texts beside them.

Imports `web.routes` and `web.contract`; handlers get the finished document, and never import it.
"""
