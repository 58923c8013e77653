"""Talk to the base and the tuned model of a finished run, side by side in the terminal."""

import contextlib
import itertools
import readline  # noqa: F401  (editing and history for `input`)

from rich import live, table, text

from blossom.common import paths, runs, shell
from blossom.generation.answers import stream_answer
from blossom.models.loading import load_model, pick_dtype


def find_newest_run(outputs="outputs", scale="*", recipe="*"):
    """The newest finished run of stage 04, a FinishedRun; ValueError when there is none."""
    folder = f"{scale}/{recipe}/04_korean_lima_sft"
    found = sorted(paths.outputs_root(outputs).glob(f"{folder}/manifest.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise ValueError(f"no finished run in {outputs}/{folder}: make it with make run, or choose another SCALE or RECIPE")
    return runs.read_run(found[-1].parent)


def show_answers(streams, names):
    """Print the pieces of several answers in columns as they come, until all end or Ctrl-C; returns the answers."""
    said = [""] * len(names)
    answers, heads = ([text.Text(word) for word in words] for words in ([""] * len(names), names))  # not Rich's markup
    shown = table.Table(*map(table.Column, heads), expand=True)
    shown.add_row(*answers)
    with contextlib.suppress(KeyboardInterrupt), live.Live(shown, vertical_overflow="visible"):
        for pieces in itertools.zip_longest(*streams, fillvalue=""):
            said = ["".join(parts) for parts in zip(said, pieces, strict=True)]
            for answer, piece in zip(answers, pieces, strict=True):  # without codes that a terminal would obey
                answer.append("".join(c if c.isprintable() or c == "\n" else " " for c in piece))
    return said


def run_chat_command(words=None):
    """Answer the lines that are typed, with the conversation so far, until Ctrl-D; returns the exit code."""
    run = find_newest_run(**vars(shell.read_words(__file__, words)))
    names = [run.params["base_model"], f"{run.params['scale']}/{run.recipe}"]
    models = [load_model(m, pick_dtype(run.params["precision"])) for m in (names[0], run.folder / "model")]
    settings, talks = {name: run.params[name] for name in ("template", "new_tokens", "seed")}, [[], []]
    print("Ctrl-C stops an answer, Ctrl-D ends.")
    while True:
        try:
            asked = {"role": "user", "content": input("you> ").strip()}
            streams = [stream_answer(*m, [*talk, asked], **settings) for m, talk in zip(models, talks, strict=True)]
        except EOFError:
            return 0
        except KeyboardInterrupt:  # the answer had ended by itself
            print()
        except ValueError as error:  # nothing was typed, or there is no room left
            print(f"{error}. A new conversation begins.")
            talks = [[], []]
        else:
            for talk, answer in zip(talks, show_answers(streams, names), strict=True):
                talk += [asked, {"role": "assistant", "content": answer}] if answer.strip() else []


if __name__ == "__main__":
    shell.run(run_chat_command)
