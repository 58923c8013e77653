import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blossom.batch import plan
from blossom.common import params, paths, runs
from tests.cases import read_cases

CASES = read_cases(__file__)


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("first", "second"):
        with paths.write_atomically(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["second"]
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_what_is_renamed_has_the_umask_s_permissions_and_is_on_the_disk(tmp_path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: (synced.append(os.readlink(f"/proc/self/fd/{n}")), sync(n)))
    with paths.write_atomically(tmp_path / "model") as temporary:
        (temporary / "inner").mkdir(0o700, parents=True)
        os.close(os.open(temporary / "inner/file", os.O_CREAT, 0o600))
    modes = [f.stat().st_mode & 0o777 for f in sorted((tmp_path / "model").rglob("*"))]
    assert modes == [0o777 & ~paths.UMASK, 0o666 & ~paths.UMASK]
    assert synced[-1] == str(tmp_path) and {Path(f).name for f in synced} > {temporary.name, "inner", "file"}


@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_while_a_model_is_replaced_leaves_a_model_and_the_next_run_nothing_else(exchange, smoke):
    run = runs.Run(smoke("07_report", "report"), "07_report")
    paths.write_text(run.folder / "model/weights", "1")
    code = CASES["killed"].format(exchange=exchange)
    assert subprocess.run([sys.executable, "-c", code, run.folder / "model"], cwd=paths.ROOT).returncode == -9
    assert (run.folder / "model").exists() == exchange
    paths.clear_leftovers(run.folder)
    assert (run.folder / "model/weights").read_text() == ("2" if exchange else "1")
    assert sorted(f.name for f in run.folder.iterdir()) == ["model", "params.yaml"]


def test_a_folder_of_another_file_system_is_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(paths, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", refuse)
    test_a_folder_is_replaced_whole(tmp_path)


def test_a_stage_finishes_without_git_home_or_a_cache(tmp_path):
    (tmp_path / "file").touch()
    env = {"PATH": str(tmp_path), "BLOSSOM_CACHE": str(tmp_path / "file")}
    words = [sys.executable, "-c", CASES["outside"], tmp_path]
    done = subprocess.run(words, env=env, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count("there is no home folder") == 1, done.stderr
    manifest = paths.read_json(tmp_path / "smoke/report/07_report/manifest.json")
    assert manifest["git_commit"] is None and 0 <= manifest["wall_seconds"] < 60


def test_the_commit_of_a_repository_around_a_copy_is_not_its_own(tmp_path, monkeypatch):
    assert runs.git_commit()
    words = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]
    for command in (["init", "-q"], words):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (copy := tmp_path / "copy").mkdir()
    monkeypatch.setattr(paths, "ROOT", copy)
    assert runs.git_commit() is None


@pytest.mark.parametrize("version", ["", "memory"])
def test_the_memory_limit_of_every_control_group_counts(version, tmp_path):
    (own := tmp_path / "own").write_text(f"1:cpu:/else\n2:{version}:/job/step\n")
    limit, used, dropped = paths.CGROUP[version]
    for folder, value in (("job", "3000"), ("job/step", "max")):
        for name, text in ((limit, value), (used, "2500"), ("stat", f"anon 1\n{dropped} 400\n")):
            paths.write_text(tmp_path / version / folder / f"memory.{name}", text)
    assert paths.free_memory(tmp_path, own) == 900
    assert paths.free_memory(tmp_path, tmp_path / "none") > 1e6


def test_the_limit_of_ulimit_v_counts():
    command = f"ulimit -v 1000000; {sys.executable} -c 'from blossom.common import paths; print(paths.free_memory())'"
    assert 1e8 < int(subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=paths.ROOT).stdout) < 1e9


def test_json_keeps_korean_readable_and_refuses_nan(tmp_path):
    paths.write_json(tmp_path / "a.json", {"말": "햄버거"})
    assert "햄버거" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError):
        paths.write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_folder_digest_sees_names_and_contents(tmp_path):
    for folder, name, text in (("a", "x", "1"), ("b", "x", "2"), ("c", "y", "1"), ("d", "x", "1")):
        paths.write_text(tmp_path / folder / name, text)
    digests = [paths.hash_path(tmp_path / folder) for folder in "abcd"]
    assert digests[0] == digests[3] and len(set(digests)) == 3


def test_an_earlier_run_stays_until_the_next_one_has_finished(smoke):
    p = smoke("07_report", "report")
    run = runs.Run(p, "07_report", [paths.ROOT / "Makefile"])
    assert not (run.folder / "manifest.json").exists() and not run.home.exists()
    (run.folder / "checkpoints").mkdir()
    for name in ("notebook.ipynb", "log.txt"):
        (run.folder / name).write_text("of a batch that failed here")
    manifest = run.finish({"rows": 1})
    assert sorted(f.name for f in run.home.iterdir()) == ["manifest.json", "metrics.json", "params.yaml"]
    assert manifest["inputs"]["Makefile"] == paths.hash_path(paths.ROOT / "Makefile")
    with pytest.raises(params.ParameterError, match="this run has finished; to make another one, run all cells again"):
        run.finish({"rows": 3})  # the notebook's last cell once more
    assert run.folder == run.home and [f for f in run.home.parent.rglob("*") if f.is_dir()] == [run.home]
    paths.write_text(run.home / "judge" / "reply.json", "paid for")
    again = runs.Run(p, "07_report")
    for name in ("figures/old.png", "checkpoints.old2/state"):
        paths.write_text(again.folder / name, "of a run that failed here")
    assert runs.read_run(run.home, check=None).metrics == {"rows": 1} and not (run.home / "figures").exists()
    runs.Run(p, "07_report").finish({"rows": 2})
    assert runs.read_run(run.home, check=None).metrics == {"rows": 2} and not (run.home / "figures").exists()
    assert (run.home / "judge/reply.json").read_text() == "paid for" and (run.home / "checkpoints.old2/state").exists()
    assert [f.name for f in run.home.parent.iterdir()] == ["07_report"]


def test_a_run_in_a_linked_folder_leaves_the_other_run_as_it_was(smoke, tmp_path):
    (made := runs.Run(smoke("07_report", "report"), "07_report")).finish({"rows": 1})
    plan.link_run(made.home, tmp_path / "outputs" / "smoke" / "other" / "07_report")
    again = runs.Run(smoke("07_report", "other"), "07_report")
    assert (again.home / "metrics.json").is_symlink() and not (again.home / "manifest.json").is_symlink()
    assert plan.is_own(made.home) and not plan.is_own(again.home)
    again.finish({"rows": 2})
    assert runs.read_run(made.home).metrics == {"rows": 1} and runs.read_run(again.home).metrics == {"rows": 2}


def test_a_run_cannot_finish_without_what_it_says_it_made(smoke):
    run = runs.Run(smoke("07_report", "report"), "07_report")
    with pytest.raises(FileNotFoundError, match="report.html"):
        run.finish({}, outputs=["report.html"])
    assert not (run.folder / "manifest.json").exists()


def ended(body, script="{}"):
    """A process whose `main` has this body: (exit code, what it said on standard error)."""
    command = f"{sys.executable} -c 'from blossom.common import shell\ndef main():\n    {body}\nshell.run(main)'"
    done = subprocess.run(["bash", "-c", script.format(command)], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_ends_a_command_without_a_word():
    assert ended("[print(n) for n in range(100_000)]", "{} | head -1; exit ${{PIPESTATUS[0]}}") == (141, "")
    assert ended("print(1)", "{} | true; exit ${{PIPESTATUS[0]}}") == (141, ""), "at the last flush too"


@pytest.mark.parametrize("error", ["ValueError", "MemoryError", "FileNotFoundError"])
def test_a_mistake_is_one_line_and_exit_code_1_and_another_code_is_handed_on(error):
    assert ended(f"raise {error}(5)") == (1, "5\n")
    assert ended("return 3") == (3, "") and ended("return None")[0] == 0


@pytest.mark.parametrize(("encoding", "content", "told"), CASES["damaged"])
def test_a_damaged_json_file_is_named_with_what_is_wrong(tmp_path, encoding, content, told):
    (tmp_path / "a.json").write_text(content, encoding=encoding)
    with pytest.raises(ValueError, match=f"a.json: .*{told}"):
        paths.read_json(tmp_path / "a.json", {"a": int})


def test_what_is_no_file_is_said_and_a_json_file_may_have_a_byte_order_mark_and_more_keys(tmp_path):
    for name, told in (("none", "no such file"), ("", "no plain file")):
        with pytest.raises(ValueError, match=told):
            paths.read_json(tmp_path / name, {"a": int})
    (tmp_path / "a.json").write_text('{"a": 1, "b": 2}', encoding="utf-8-sig")
    assert paths.read_json(tmp_path / "a.json", {"a": int}) == {"a": 1, "b": 2}


def test_a_stage_that_another_process_runs_is_not_run_beside_it(smoke):
    run = runs.Run(smoke("07_report", "report"), "07_report")
    words, pipe = [sys.executable, "-c", CASES["twice"], run.p.outputs], subprocess.PIPE
    with subprocess.Popen(words, cwd=paths.ROOT, stdin=pipe, stdout=pipe, text=True) as other:
        assert "another process runs this stage here" in other.stdout.readline()
        run.finish({})
        assert other.communicate("\n")[0] == "begun\n"
