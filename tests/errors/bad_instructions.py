"""Rows: instruction sets, their translation and review."""

# fmt: off
import json
from dataclasses import replace

from blossom.instructions import drafts, merging, review, translation
from blossom.instructions.readers import read_instructions
from tests.errors.table import case, file_case

SETS = "instructions (04)"
GOOD = {"instruction": "질문?", "output": "답."}


def read(file):
    return read_instructions(str(file), "ko")


for wrong, content, *words in (
    ("a field is missing", [GOOD, {"instruction": "질문?"}], "set.jsonl, line 2", "'output'"),
    ("an empty answer", [GOOD | {"output": " \n"}], "line 1", "message 2", "no text"),
    ("a number where text is meant", [GOOD | {"instruction": 3}], "line 1", "expected text in every field", "int '3'"),
    ("two rows with one id", [GOOD | {"id": "x"}] * 2, "line 2", "'x'", "line 1"),
):
    file_case(SETS, wrong, read, "set.jsonl", content, *words)



REVIEW = "translation and review (04)"
case(REVIEW, "a reviewer's file of another data set", ValueError, "민지.json", "another dataset", "000000000000")(
    lambda six, exported: merging.read_review(exported("민지", {}, top={"dataset": "0" * 64}), six))

@case(REVIEW, "a file that the page did not write", ValueError, "mine.json", "expected a file exported by the review page")
def no_export(six, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    merging.read_review(tmp_path / "mine.json", six)

@case(REVIEW, "nothing is marked as done", ValueError, "marked as done")
def nothing_done(six, exported, tmp_path):
    merging.write_merged(merging.merge_reviews(six, [exported("민지", {})]), tmp_path / "set.jsonl")

case(REVIEW, "half a character in a draft", ValueError, "broken character", "반쪽")(
    lambda six: review.hash_drafts([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})]))

file_case(REVIEW, "a broken line among the drafts", drafts.read_drafts, "drafts.jsonl", [{"id": 1}], "drafts.jsonl, line 1",
          "no draft")

@case(REVIEW, "no translation server at that address", RuntimeError, "0 of 2 requests", "no connection")
def no_server(tmp_path):
    (tmp_path / "set.jsonl").write_text(json.dumps(GOOD), encoding="utf-8")
    translator = translation.ServedTranslator("http://127.0.0.1:9/v1", "tiny", tmp_path / "replies", tries=1)
    translation.translate_examples(read(tmp_path / "set.jsonl"), translator)
