"""Rows: instruction sets, their translation and review."""

# fmt: off
import json
from dataclasses import replace

from blossom.instructions import drafts, merging, review, translation
from blossom.instructions.dataset import hold_out_examples
from blossom.instructions.readers import read_instructions, read_translations
from tests.errors.table import case, file_case

SETS = "instructions (04)"
GOOD = {"instruction": "질문?", "output": "답."}


TURNS = [{"role": "user", "content": "가"}, {"role": "user", "content": "나"}, {"role": "assistant", "content": "다"}]


def read(file):
    """Read an instruction set."""
    return read_instructions(str(file), "ko")


for wrong, content, *words in (
    ("a field is missing", [GOOD, {"instruction": "질문?"}], "set.jsonl, line 2", "'output'"),
    ("an empty answer", [GOOD | {"output": " \n"}], "line 1", "message 2", "no text"),
    ("roles out of order", [{"messages": TURNS}], "line 1", "expected user and assistant in turn"),
    ("a number where text is meant", [GOOD | {"instruction": 3}], "line 1", "expected text in every field", "int '3'"),
    ("a line that is no JSON", "{oops\n", "set.jsonl, line 1", "not valid JSON"),
    ("two rows with one id", [GOOD | {"id": "x"}] * 2, "line 2", "'x'", "line 1"),
):
    file_case(SETS, wrong, read, "set.jsonl", content, *words)

file_case(SETS, "a spreadsheet instead of JSON", read, "set.csv", "instruction,output\n", "set.csv", "expected a .json")
file_case(SETS, "too few examples to hold some out", lambda file: hold_out_examples(read(file), 12), "set.jsonl", [GOOD],
          "ko: 1 example", "holding out 12")
file_case(SETS, "aligned text without its second column", lambda file: read_translations([str(file)]), "pairs.tsv",
          "Turn on\n", "pairs.tsv, line 1", "expected 2 columns")


def one_example(tmp_path):
    (tmp_path / "set.jsonl").write_text(json.dumps(GOOD), encoding="utf-8")
    return read(tmp_path / "set.jsonl")


# ------------------------------------------------------------------------------------- translating and reviewing

REVIEW = "translation and review (04)"
case(REVIEW, "a reviewer's file of another data set", ValueError, "민지.json", "another dataset", "000000000000")(
    lambda six, exported: merging.read_review(exported("민지", {}, top={"dataset": "0" * 64}), six))

@case(REVIEW, "a file that the page did not write", ValueError, "mine.json", "expected a file exported by the review page")
def no_export(six, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    merging.read_review(tmp_path / "mine.json", six)

@case(REVIEW, "two reviewers finished one row differently", ValueError, "1 conflict", "adjudication page")
def conflict(six, exported, tmp_path):
    files = [exported(who, {six[0].id: {"fields": {"output": who}}}) for who in ("민지", "서준")]
    merging.write_merged(merging.merge_reviews(six, files), tmp_path / "set.jsonl")

@case(REVIEW, "nothing is marked as done", ValueError, "marked as done")
def nothing_done(six, exported, tmp_path):
    merging.write_merged(merging.merge_reviews(six, [exported("민지", {})]), tmp_path / "set.jsonl")

case(REVIEW, "half a character in a draft", ValueError, "broken character", "반쪽")(
    lambda six: review.hash_drafts([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})]))


def translator(tmp_path):
    """A translator whose server is not there."""
    return translation.ServedTranslator("http://127.0.0.1:9/v1", "tiny", tmp_path / "replies", tries=1)
case(REVIEW, "no translation server at that address", RuntimeError, "0 of 2 requests", "no connection")(
    lambda tmp_path: translation.translate_examples(one_example(tmp_path), translator(tmp_path)))

@case(REVIEW, "a stored reply edited by hand", ValueError, "replies", ".json", "not valid JSON")
def edited_replies(tmp_path):
    asked = translator(tmp_path)
    asked.store.put(asked.ask_translation("질문?", ""), reply="x")
    next((tmp_path / "replies").glob("*.json")).write_text("{")
    translation.translate_examples(one_example(tmp_path), asked)

file_case(REVIEW, "a broken line among the drafts", drafts.read_drafts, "drafts.jsonl", [{"id": 1}], "drafts.jsonl, line 1",
          "no draft")
