"""`python -m blossom.report compare|sweep|reference|check`: see --help."""

import argparse

from blossom.common import params, paths, shell
from blossom.report import changes, reference, sweeps

ABLATION = paths.ROOT / "params" / "ablation.yaml"


def run_report_command(words=None):
    """The exit code: 0 when all is well, 1 when a run is out of tolerance. Raises ValueError when something is missing."""
    parser = argparse.ArgumentParser(prog="python -m blossom.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    two = commands.add_parser("compare", help="two runs side by side, from their folders alone")
    two.add_argument("a", help="folder of a stage's run, of a recipe or of a scale")
    two.add_argument("b", help="likewise")
    sweep = commands.add_parser("sweep", help="the comparison of a finished sweep of params/sweeps")
    sweep.add_argument("name")
    sweep.add_argument("--definitions", default=str(paths.ROOT / "params" / "sweeps"), help="folder of the sweeps' files")
    keep = commands.add_parser("reference", help="keep metrics and figures of a finished `make ablation` in the repository")
    check = commands.add_parser(
        "check", help="compare a run with the reference: exit code 1 when a metric is out of tolerance"
    )
    for command in (sweep, keep, check):
        command.add_argument("--scale", default="laptop")
        command.add_argument("--outputs", default="outputs")
    given = parser.parse_args(words)
    return {"compare": _compare, "sweep": _sweep, "reference": _keep, "check": _check}[given.command](given)


def _compare(given):
    parameters, metrics = changes.compare_runs(given.a, given.b)
    _print(f"{len(parameters)} parameters differ (a: {given.a}, b: {given.b})", parameters)
    _print(f"{len(metrics)} metrics differ", metrics)
    return 0


def _sweep(given):
    print(sweeps.write_comparison(given.outputs, given.name, given.scale, given.definitions))
    return 0


def _keep(given):
    wanted = params.load_yaml(ABLATION)
    print(reference.keep_reference(given.outputs, given.scale, wanted["recipes"], wanted["report"]))
    return 0


def _check(given):
    table = reference.check_reference(given.outputs, given.scale, reference.read_tolerances())
    out = table[~table.within]
    print(f"{len(table)} metrics of {table.run.nunique()} runs compared with {reference.reference_folder(given.scale)}")
    _print(f"{len(out)} out of tolerance", out.drop(columns="within"))
    return 1 if len(out) else 0


def _print(title, table):
    print(f"\n{title}")
    if len(table):
        print(table.to_string(index=False, max_colwidth=60, float_format=lambda x: f"{x:.5g}", na_rep="–"))


if __name__ == "__main__":
    shell.run(run_report_command)
