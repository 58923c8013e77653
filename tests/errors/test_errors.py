"""Every row of the table is made to happen, and says what docs/errors.md promises."""

import inspect
from collections import Counter

import pytest

from tests.errors.page import FILE, page
from tests.errors.table import ROWS, STAGES


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.stage}: {r.wrong}")
def test_a_bad_input_says_what_is_wrong(row, request):
    given = [request.getfixturevalue(name) for name in inspect.signature(row.make).parameters]
    if isinstance(row.error, str):
        told = row.make(*given)
    else:
        with pytest.raises(row.error) as caught:
            row.make(*given)
        assert caught.type.__name__ in (row.kind, "ParameterError"), caught.type
        told = str(caught.value)
    assert row.fits(told), f"expected: {row.says}\nfound: {told}"
    assert "Traceback" not in told


def test_the_page_for_readers_is_this_table():
    assert FILE.read_text(encoding="utf-8") == page(), "run: python -m tests.errors.page"


def test_the_table_covers_every_stage():
    count = Counter(row.stage for row in ROWS)
    assert len(ROWS) >= 60 and set(count) == set(STAGES)
    assert len({(row.stage, row.wrong) for row in ROWS}) == len(ROWS)
    assert all(len(row.says.replace("…", "").split()) >= 3 and row.cure.endswith(".") for row in ROWS)
