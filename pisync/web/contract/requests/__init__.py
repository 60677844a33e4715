"""Calls about what a fleet's requests meet and leave behind: what they read, and their answers.

Part of the contract, for handlers, routes and the OpenAPI document.
"""
