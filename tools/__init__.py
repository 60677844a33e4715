"""Programs for maintainers, run by `make`; nothing here is shipped."""
