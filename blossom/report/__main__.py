"""The report's commands: `python -m blossom.report page|book|sweep|reference|check`."""

from blossom.common import params, paths, shell
from blossom.report import convert, reference, sweeps


def run_report_command(words=None):
    """Run a command of the report; returns the exit code, 1 when `check` finds a metric out of tolerance or no run."""
    given = shell.read_words(__file__, words)
    if given.command == "page":
        report = convert.write_report(given.notebook, given.target)
        if any(report.parent.glob("*/*/notebook.ipynb")):  # notebooks beside it, whose pages in the book it links to
            convert.write_book(report.parent)
        print(report)
    elif given.command == "book":
        print(convert.write_book(given.folder))
    elif given.command == "sweep":
        print(sweeps.write_comparison(given.outputs, given.name, given.scale, paths.ROOT / given.definitions))
    elif given.command == "reference":
        wanted = params.load_yaml(paths.ROOT / "params" / "ablation.yaml")
        print(reference.keep_reference(given.outputs, given.scale, wanted["recipes"], wanted["report"]))
    else:
        table, missing = reference.check_reference(given.outputs, given.scale)
        out = table[~table.within]
        print(f"\n{len(out)} of {len(table)} metrics out of tolerance")
        if len(out):
            form = {"index": False, "max_colwidth": 60, "float_format": "{:.5g}".format, "na_rep": "–"}
            print(out.drop(columns="within").to_string(**form))
        if missing:
            print(f"{len(missing)} of the reference's runs are missing (`make ablation` makes them)", *missing, sep="\n- ")
        return min(1, len(out) + len(missing))
    return 0


if __name__ == "__main__":
    shell.run(run_report_command)
