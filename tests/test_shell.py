"""Our commands as a shell meets them, as processes of their own."""

import subprocess
import sys

import pytest


def ended(body, script="{}"):
    """A process whose `main` has this body: (exit code, what it said on standard error)."""
    program = f"from blossom.common import shell\ndef main():\n    {body}\nshell.run(main)"
    command = f"{sys.executable} -c '{program}'"
    done = subprocess.run(["bash", "-c", script.format(command)], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_ends_a_command_without_a_word():
    lines = "[print(n) for n in range(100_000)]"
    assert ended(lines, "{} | head -1; exit ${{PIPESTATUS[0]}}") == (141, "")
    assert ended("print(1)", "{} | true; exit ${{PIPESTATUS[0]}}") == (141, ""), "at the last flush too"


@pytest.mark.parametrize("error", ["ValueError", "RuntimeError", "MemoryError", "FileNotFoundError"])
def test_a_mistake_is_one_line_and_exit_code_1(error):
    assert ended(f"raise {error}(5)") == (1, "5\n")


def test_an_exit_code_is_handed_on():
    assert ended("return 3") == (3, "") and ended("return None")[0] == 0
