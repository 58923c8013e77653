"""Run a command of the project: its exit code, and expected errors as one line."""

import os
import sys


def run(main):
    """Call `main` and end the process with its exit code; an error of the user is printed as one line (code 1)."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail
        code = 141
    except (ValueError, RuntimeError, MemoryError, FileNotFoundError) as error:
        code = str(error)
    sys.exit(code)
