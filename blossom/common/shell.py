"""Run a command of the project: its arguments from a YAML file, its exit code, and expected errors as one line."""

import argparse
import os
import sys
from pathlib import Path

from blossom.common import paths


def read_words(file, words=None):
    """The arguments of a program, an object; the YAML file beside its `file` says what they and its commands are for.

    words  list of str; None: this process's own
    """
    name, listed = Path(file).resolve().relative_to(paths.ROOT).with_suffix(""), paths.read_yaml_beside(file)
    program = f"python -m {'.'.join(name.parts).removesuffix('.__main__')}"
    parser = argparse.ArgumentParser(prog=program, description=listed.pop("about"))
    commands = parser.add_subparsers(dest="command", required=True) if "commands" in listed else None
    for command, arguments in listed.pop("commands", {"": listed}).items():
        asked = commands.add_parser(command, help=arguments.pop("about")) if commands else parser
        asked.register("type", "int", int)
        for argument, settings in arguments.items():
            asked.add_argument(*argument.split(", "), **settings)
    return parser.parse_args(words)


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
