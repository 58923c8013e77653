"""Exit codes of our commands, and errors of the user in one line."""

import os
import sys


def run(main):
    """Call `main` and end the process with the exit code that it returns (None: 0).

    A ValueError, RuntimeError, MemoryError or FileNotFoundError is printed as one line, without a traceback; exit code 1.
    A closed pipe, as in `... | head`, ends the process silently with 141, as it does for the shell's own commands.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written at exit: to nowhere
        code = 141
    except (ValueError, RuntimeError, MemoryError, FileNotFoundError) as error:
        code = str(error)
    sys.exit(code)
