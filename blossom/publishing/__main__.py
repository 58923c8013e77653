"""Publish a model: list what would be pushed to the hub, or push it."""

import argparse
from pathlib import Path

from blossom.common import paths, shell
from blossom.publishing.hub import plan_push, push_model


def run_publish_command(words=None):
    """Print the plan of a push and, without --dry-run, push; returns the exit code, 1 when a dry run was refused."""
    parser = argparse.ArgumentParser("python -m blossom.publishing", description=__doc__)
    parser.add_argument("run", help="folder of a run that made a model: outputs/<scale>/<recipe>/<stage>")
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument("--dry-run", action="store_true", help="list files, write the card beside the model, push nothing")
    parser.add_argument("--gguf", default="", metavar="F16", help="add a GGUF file: F32, F16 or BF16")
    parser.add_argument("--licence", "--license", action="append", default=[], metavar="NAME=LICENCE", help="of your input")
    parser.add_argument("--public", action="store_true", help="make the repository public (it is private otherwise)")
    given = parser.parse_args(words)
    pairs = [pair.split("=", 1) for pair in given.licence]
    if any(len(pair) != 2 or not pair[1].strip() for pair in pairs):
        parser.error("--licence: expected NAME=LICENCE, for example 'data/novels=CC BY 4.0'")
    plan = plan_push(given.run, given.to, dict(pairs), given.gguf)
    print(plan)
    if given.dry_run:
        card = Path(given.run) / "model_card.md"
        paths.write_text(card, plan.files["README.md"].decode())
        print(f"the card: {card}")
        return 1 if plan.refusals else 0
    print(push_model(plan, given.public))
    return 0


if __name__ == "__main__":
    shell.run(run_publish_command)
