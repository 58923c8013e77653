import json
import subprocess
import sys

import pytest

from blossom.common import paths, runs


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("first", "second"):
        with paths.write_atomically(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["second"]
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_json_keeps_korean_readable_and_refuses_nan(tmp_path):
    paths.write_json(tmp_path / "a.json", {"말": "햄버거"})
    assert "햄버거" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError):
        paths.write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_folder_digest_sees_names_and_contents(tmp_path):
    for folder, name, text in (("a", "x", "1"), ("b", "x", "2"), ("c", "y", "1"), ("d", "x", "1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    digests = [paths.hash_path(tmp_path / folder) for folder in "abcd"]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


def test_a_run_is_finished_when_its_manifest_is_there(smoke):
    p = smoke("07_report", "report")
    run = runs.Run(p, "07_report")
    assert not (run.folder / "manifest.json").exists()
    (run.folder / "report.html").write_text("<p>")
    (run.folder / "checkpoints").mkdir()
    manifest = run.finish({"rows": 1}, inputs=[paths.ROOT / "Makefile"], outputs=["report.html"])
    assert json.loads((run.folder / "manifest.json").read_text()) == manifest
    assert manifest["inputs"]["Makefile"] == paths.hash_path(paths.ROOT / "Makefile")
    assert manifest["outputs"]["report.html"] == paths.hash_path(run.folder / "report.html")
    assert manifest["peak_bytes"] > 1e6
    assert not (run.folder / "checkpoints").exists()
    runs.Run(p, "07_report")
    assert not (run.folder / "manifest.json").exists(), "a new run takes the mark away until it is finished"


def test_a_run_in_a_linked_folder_leaves_the_other_run_as_it_was(smoke, tmp_path):
    run = runs.Run(smoke("07_report", "report"), "07_report")
    (other := tmp_path / "other").mkdir()
    (other / "params.yaml").write_text("of the other run")
    for name, target in (("figures", other), ("params.yaml", other / "params.yaml")):
        (run.folder / name).unlink(missing_ok=True)
        (run.folder / name).symlink_to(target)
    again = runs.Run(run.p, "07_report")
    paths.write_text(again.folder / "figures" / "new.png", "drawn")
    assert [f.name for f in other.iterdir()] == ["params.yaml"]
    assert (other / "params.yaml").read_text() == "of the other run"


def test_a_run_cannot_finish_without_what_it_says_it_made(smoke):
    run = runs.Run(smoke("07_report", "report"), "07_report")
    with pytest.raises(FileNotFoundError, match="report.html"):
        run.finish({}, outputs=["report.html"])
    assert not (run.folder / "manifest.json").exists()


def ended(body, script="{}"):
    """A process whose `main` has this body: (exit code, what it said on standard error)."""
    program = f"from blossom.common import shell\ndef main():\n    {body}\nshell.run(main)"
    command = f"{sys.executable} -c '{program}'"
    done = subprocess.run(["bash", "-c", script.format(command)], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_ends_a_command_without_a_word():
    lines = "[print(n) for n in range(100_000)]"
    assert ended(lines, "{} | head -1; exit ${{PIPESTATUS[0]}}") == (141, "")
    assert ended("print(1)", "{} | true; exit ${{PIPESTATUS[0]}}") == (141, ""), "at the last flush too"


@pytest.mark.parametrize("error", ["ValueError", "MemoryError", "FileNotFoundError"])
def test_a_mistake_is_one_line_and_exit_code_1_and_another_code_is_handed_on(error):
    assert ended(f"raise {error}(5)") == (1, "5\n")
    assert ended("return 3") == (3, "") and ended("return None")[0] == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        *((text, "not valid JSON") for text in (b"", b'{"a": 1', b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}')),
        *((text, "not valid JSON") for text in (b"[" * 99_999, b"[" * 102 + b"]" * 102, b'{"a": %s}' % (b"9" * 41))),
        *(('{"a": "가"}'.encode(encoding), "not valid JSON") for encoding in ("cp949", "utf-16")),
        (b"[1]", r"valid dictionary, found list \[1\]"),
        (b'{"b": 1}', "a: Field required, found dict {'b': 1}"),
        (b'{"a": true}', "a: expected a valid integer, found bool True"),
        *((None, "no such file"), (..., "no plain file")),
    ],
)
def test_a_damaged_json_file_is_named_with_what_is_wrong(tmp_path, content, told):
    file = tmp_path / "a.json"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is ...:
        file.mkdir()
    with pytest.raises(ValueError, match=f"a.json: .*{told}"):
        paths.read_json(file, {"a": int})


def test_a_json_file_may_have_a_byte_order_mark_and_more_keys(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1, "b": 2}', encoding="utf-8-sig")
    assert paths.read_json(tmp_path / "a.json", {"a": int}) == {"a": 1, "b": 2}
