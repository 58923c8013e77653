"""Rows of files, and of hub sets by their one grammar."""

import json

import datasets
import pytest

from blossom.instructions.readers import read_instructions
from blossom.text.corpus import read_documents
from blossom.text.hub import parse_hub
from blossom.text.rows import read_rows, read_table


def test_rows_of_every_kind_of_file_with_their_places(tmp_path):
    (tmp_path / "a.JSONL").write_bytes('\ufeff{"a": "x\u2028y"}\r\n\r\n{"a": 2}\n'.encode())
    (tmp_path / "b.json").write_text(json.dumps([{"a": 1}]))
    (tmp_path / "c.tsv").write_text('a\tb\n"x\ty\n', encoding="utf-8")
    (tmp_path / "d.txt").write_text('1\t"x\ty"\n', encoding="utf-8")
    found = {name: list(read_rows(str(tmp_path / name))) for name in ("a.JSONL", "b.json", "c.tsv")}
    assert [row for _, row in found["a.JSONL"]] == [{"a": "x\u2028y"}, {"a": 2}]
    assert [place.split(", ")[1] for place, _ in found["a.JSONL"]] == ["line 1", "line 3"]
    assert found["b.json"][0][1] == {"a": 1} and found["c.tsv"][0][1] == {"a": '"x', "b": "y"}
    assert [row for _, row in read_table(tmp_path / "d.txt", ("n", "t"), quoted=True)] == [{"n": "1", "t": "x\ty"}]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.jsonl", b'{"a": 1}\n[1]\n', "a.jsonl, line 2: expected an object"),
        ("a.jsonl", b"\n{", "a.jsonl, line 2: not valid JSON"),
        ("a.json", b'{"a": 1}', "a.json: expected a JSON list"),
        ("a.tsv", b"a\tb\n1\n", "a.tsv, line 2: expected 2 columns, found 1"),
        ("a.csv", b"a\n", "a.csv: expected a .json"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_by_its_place(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=named):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hub:a/b", ("a/b", None, None, "train")),
        ("hub:a/b:c", ("a/b", None, "c", "train")),
        ("hub:a/b@v1:c:test", ("a/b", "v1", "c", "test")),
    ],
)
def test_one_grammar_of_hub_sets(source, parts):
    assert parse_hub(source) == parts


@pytest.mark.parametrize("source", ["hub:", "hub:a/b:", "hub:a/b:c:d:e"])
def test_another_form_is_refused(source):
    with pytest.raises(ValueError, match="owner/name"):
        parse_hub(source)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """`hub(rows, error)`: `datasets` serves these rows from Parquet, or raises; what it is asked for is listed."""

    def make(rows=(), error=None):
        asked = []

        def load_dataset(*words, **named):
            asked.append((words, named))
            if error and "data_files" not in named:
                raise error
            datasets.Dataset.from_list(list(rows)).to_parquet(tmp_path / "rows.parquet")
            return datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return asked

    return make


def test_texts_and_instructions_are_read_from_the_hub_alike(hub):
    asked = hub([{"id": str(n), "title": f"{n}", "text": f"문서 {n}\n\n둘째 문단"} for n in range(30)])
    assert list(read_documents("hub:wikimedia/wikipedia:20231101.ko"))[::29] == ["문서 0 둘째 문단", "문서 29 둘째 문단"]
    assert asked == [(("wikimedia/wikipedia", "20231101.ko"), {"split": "train", "revision": None})]
    asked = hub([{"conversations": ["Q?", "A."], "source": "stackexchange"}])
    assert read_instructions("hub:GAIR/lima@main:plain_text:test", "en")[0].output == "A."
    assert asked == [(("GAIR/lima", "plain_text"), {"split": "test", "revision": "main"})]


def test_a_set_that_is_a_script_is_read_from_the_hubs_parquet(hub):
    asked = hub([{"text": "하나"}], RuntimeError("Dataset scripts are no longer supported, but found lima.py"))
    assert list(read_documents("hub:GAIR/lima:plain_text:test")) == ["하나"]
    assert asked[1][1]["data_files"] == {"test": "hf://datasets/GAIR/lima@refs/convert/parquet/plain_text/test/*.parquet"}


@pytest.mark.parametrize(
    ("source", "error", "named"),
    [
        (
            "hub:GAIR/lima",
            "Dataset 'GAIR/lima' is a gated dataset on the Hub.",
            r"https://huggingface.co/datasets/GAIR/lima",
        ),
        ("hub:GAIR/lima:test", "BuilderConfig 'test' not found.", r"'test' .* hub:GAIR/lima:<config>:<split>"),
        ("hub:a/b", "Couldn't reach the Hub", "ConnectionError: Couldn't reach"),
    ],
)
@pytest.mark.parametrize("read", [read_documents, lambda source: read_instructions(source, "en")])
def test_why_the_hub_does_not_give_a_set(hub, read, source, error, named):
    hub(error=ConnectionError(error))
    with pytest.raises(ValueError, match=f"{source}: .*{named}"):
        list(read(source))
