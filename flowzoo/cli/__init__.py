"""The command line. `flowzoo VERB` loads the file of that verb alone."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 fine, 1 our fault, 2 the user's input, 130 interrupted)."""
    from flowzoo.cli.parser import run
    from flowzoo.freed_memory import keep_freed_memory

    if arguments is None:  # the process is the command's own
        keep_freed_memory()
    return run(sys.argv[1:] if arguments is None else list(arguments))
