"""Give a model away: list what would go to the hub, or send it.

python -m blossom.publishing outputs/laptop/blossom-bi-biSFT/04_korean_lima_sft --to name/model --dry-run
"""

import argparse
from pathlib import Path

from blossom.common import paths, shell
from blossom.publishing import hub


def run_publish_command(words=None):
    """Read the command line (`words`; None: the process's own), list the plan, push unless --dry-run.

    return  the exit code: 0, or 1 when the dry run found a reason against a push
    Raises ValueError or RuntimeError: no such run, or it may not be pushed.
    """
    parser = argparse.ArgumentParser("python -m blossom.publishing", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a run that made a model: outputs/<scale>/<recipe>/<stage>")
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the files and write the card beside the model; push nothing"
    )
    parser.add_argument("--gguf", default="", metavar="F16", help="a GGUF file too: F32, F16 or BF16")
    parser.add_argument("--licence", action="append", default=[], metavar="NAME=LICENCE", help="of a text or model of yours")
    parser.add_argument("--public", action="store_true", help="make the repository public (it is private otherwise)")
    given = parser.parse_args(words)
    pairs = [pair.split("=", 1) for pair in given.licence]
    if any(len(pair) != 2 or not pair[1] for pair in pairs):
        parser.error("--licence: expected NAME=LICENCE, for example 'data/novels=CC BY 4.0'")
    made = hub.plan_push(given.run, given.to, dict(pairs), given.gguf)
    print(made)
    if given.dry_run:
        paths.write_text(Path(given.run) / "model_card.md", made.files["README.md"].decode())
        print(f"the card: {Path(given.run) / 'model_card.md'}")
        return 1 if made.refusals else 0
    print(hub.push_model(made, given.public))
    return 0


if __name__ == "__main__":
    shell.run(run_publish_command)
