"""How many connections this process, and the servers that it starts, may have open at once."""

import resource

from bench import machine

_SPARE_FILES = 200


def need_files(connections: int) -> None:
    """Raise this process's limit, which servers inherit, as far as it may be raised.

    Raises:
        CannotMeasure: That is not enough for so many connections.
    """
    count = connections + _SPARE_FILES
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most not in range(count):  # RLIM_INFINITY is -1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return
    raise machine.CannotMeasure(f"{count:,} open files are needed: ulimit -Hn says {most:,}")
