"""What maintainers, tests and benchmarks share; nothing here is shipped."""
