"""Our commands as a shell meets them: an exit code, a mistake in one line, silence when nobody reads on."""

import os
import sys


def run(main):
    """Call `main` and end the process with the exit code that it returns (None: 0).

    A mistake of the caller's (ValueError, RuntimeError, MemoryError, a missing file) is one line on standard error and 1.
    A reader that went away, as in `... | head`, ends it without a word and with 141, as it ends the shell's own commands.
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
