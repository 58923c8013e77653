"""The report's commands: `python -m blossom.report page|book|compare|sweep|reference|check`."""

import argparse

from blossom.common import params, paths, shell
from blossom.report import book, changes, convert, reference, sweeps


def run_report_command(words=None):
    """Run a command of the report; returns the exit code, 1 when `check` finds a metric out of tolerance."""
    parser = argparse.ArgumentParser(prog="python -m blossom.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    page = commands.add_parser("page", help="write the report as HTML from notebook 07 as it ran")
    page.add_argument("notebook", help="the executed notebook: outputs/<scale>/report/07_report/notebook.ipynb")
    page.add_argument("target", help="the file to write: outputs/<scale>/report.html")
    whole = commands.add_parser("book", help="write the executed notebooks of a scale as one HTML book")
    whole.add_argument("folder", help="outputs/<scale>, after `make run`")
    compare = commands.add_parser("compare", help="two runs side by side, from their folders alone")
    compare.add_argument("a", help="folder of a stage's run, of a recipe or of a scale")
    compare.add_argument("b", help="the folder it is compared with")
    sweep = commands.add_parser("sweep", help="the comparison of a finished sweep of params/sweeps")
    sweep.add_argument("name")
    sweep.add_argument("--definitions", default=str(paths.ROOT / "params" / "sweeps"), help="folder of the sweeps' files")
    keep = commands.add_parser("reference", help="keep metrics and figures of a finished `make ablation`")
    check = commands.add_parser("check", help="compare a run with the reference; exit code 1 when it is out of tolerance")
    for command in (sweep, keep, check):
        command.add_argument("--scale", default="laptop")
        command.add_argument("--outputs", default="outputs")
    given = parser.parse_args(words)
    if given.command == "page":
        print(convert.write_report(given.notebook, given.target))
    elif given.command == "book":
        print(book.write_book(given.folder))
    elif given.command == "sweep":
        print(sweeps.write_comparison(given.outputs, given.name, given.scale, given.definitions))
    elif given.command == "reference":
        wanted = params.load_yaml(paths.ROOT / "params" / "ablation.yaml")
        print(reference.keep_reference(given.outputs, given.scale, wanted["recipes"], wanted["report"]))
    elif given.command == "compare":
        parameters, metrics = changes.compare_runs(given.a, given.b)
        _print_table(f"{len(parameters)} parameters differ (a: {given.a}, b: {given.b})", parameters)
        _print_table(f"{len(metrics)} metrics differ", metrics)
    else:
        table = reference.check_reference(given.outputs, given.scale)
        out = table[~table.within]
        _print_table(f"{len(out)} of {len(table)} metrics out of tolerance", out.drop(columns="within"))
        return min(1, len(out))
    return 0


def _print_table(title, table):
    print(f"\n{title}")
    if len(table):
        print(table.to_string(index=False, max_colwidth=60, float_format="{:.5g}".format, na_rep="–"))


if __name__ == "__main__":
    shell.run(run_report_command)
