"""The film of the dashboard in the README: `make film`."""
