"""Publish a model: list what would be pushed to the hub, or push it."""

from pathlib import Path

from blossom.common import paths, shell
from blossom.publishing.hub import plan_push, push_model


def run_publish_command(words=None):
    """Print the plan of a push and, without --dry-run, push; returns the exit code, 1 when a dry run was refused."""
    given = shell.read_words(__file__, words)
    pairs = [pair.split("=", 1) for pair in given.licence]
    if any(len(pair) != 2 or not pair[1].strip() for pair in pairs):
        raise ValueError("--licence: expected NAME=LICENCE, for example 'data/novels=CC BY 4.0'")
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
