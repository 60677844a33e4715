"""`python -m pisync` is `pisync`."""

from pisync.cli.main import main

if __name__ == "__main__":
    main(prog_name="pisync")
