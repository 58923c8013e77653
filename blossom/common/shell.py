"""Run a command of the project: its exit code, and expected errors as one line."""

import os
import sys


def show_plain(text):
    """A text without characters that a terminal would obey, such as those of a file's name."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def run(main):
    """Call `main` and end the process with its exit code; an error of the user is printed as one line (code 1)."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail
        code = 141
    except (ValueError, RuntimeError, MemoryError, FileNotFoundError) as error:
        code = show_plain(str(error))
    sys.exit(code)
