"""What requests and answers look like: headers, bodies, queries, schemas and error answers.

Imports `model` and what it renders; every other room of `web` may import it.
"""
