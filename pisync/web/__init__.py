"""The HTTP side: routes, and handlers that parse, make one call and answer."""
