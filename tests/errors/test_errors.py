"""Every case of the table is made to happen; docs/errors.md tells of each."""

import inspect
import re

import pytest

from blossom.common import paths
from tests.errors import bad_data, bad_files, bad_models, bad_runs  # noqa: F401
from tests.errors.table import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.stage}: {c.wrong}")
def test_a_bad_input_says_what_is_wrong(case, request):
    asked = [name for name, p in inspect.signature(case.make).parameters.items() if p.default is p.empty]
    given = [request.getfixturevalue(name) for name in asked]
    if case.error is None:
        told = case.make(*given)
    else:
        with pytest.raises(case.error) as caught:
            case.make(*given)
        assert caught.type.__name__ in (case.error.__name__, "ParameterError"), caught.type
        told = str(caught.value)
    assert case.words and [word for word in case.words if word not in told] == [], told
    assert "Traceback" not in told


def test_the_page_for_readers_has_a_row_for_every_case():
    page = (paths.ROOT / "docs" / "errors.md").read_text(encoding="utf-8").replace("\\|", "|").replace("&lt;", "<")
    told, stage = {}, None
    for line in page.split("\n"):
        stage = line[3:].lower() if line.startswith("## ") else stage
        if (cells := re.match(r"\| (.*?) \| (\w.*) \|$", line)) and not line.startswith("| What is"):
            told[stage, cells[1]] = cells[2]
    missing = [(c.wrong, w) for c in CASES for w in c.words if w not in told.get((c.stage.lower(), c.wrong), "")]
    assert missing == [], "docs/errors.md: these words are in the message, and not in its row"
