"""PiSync beside what people would use instead, and at its own limits. `make bench` runs it."""
