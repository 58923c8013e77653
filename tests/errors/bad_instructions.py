"""Rows: instruction sets, their translation and review."""

# fmt: off
import json
from dataclasses import replace

from blossom.common.server import ChatServer
from blossom.instructions import drafts, merging, review, translation
from blossom.instructions.dataset import hold_out_examples
from blossom.instructions.readers import read_instructions, read_translations
from tests.errors.table import row

SETS = "instructions (04)"
GOOD = {"instruction": "질문?", "output": "답."}


def read_rows(tmp_path, *rows, name="set.jsonl"):
    """Read an instruction set of these rows."""
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_instructions(str(tmp_path / name), "ko")


@row(SETS, "a field is missing", ValueError,
     "set.jsonl, line 2: no field 'output' (nor messages, nor conversations); it has instruction", "Mend that line.")
def no_output(tmp_path):
    read_rows(tmp_path, GOOD, {"instruction": "질문?"})


@row(SETS, "an empty answer", ValueError,
     "line 1: message 2, the assistant's, is empty: there is nothing to learn; remove the row", "Remove the row.")
def empty_output(tmp_path):
    read_rows(tmp_path, GOOD | {"output": " \n"})


@row(SETS, "roles out of order", ValueError,
     "line 1: roles out of order: expected user and assistant in turn, the user first, found …", "Mend that line.")
def bad_roles(tmp_path):
    turns = [{"role": "user", "content": "가"}, {"role": "user", "content": "나"}, {"role": "assistant", "content": "다"}]
    read_rows(tmp_path, {"messages": turns})


@row(SETS, "a number where text is meant", ValueError,
     "line 1: expected text in every field, found int '3'", "Quote it.")
def number_as_text(tmp_path):
    read_rows(tmp_path, GOOD | {"instruction": 3})


@row(SETS, "a line that is no JSON", ValueError, "set.jsonl, line 1: not valid JSON (", "Mend that line.")
def no_json(tmp_path):
    (tmp_path / "set.jsonl").write_text("{oops\n")
    read_instructions(str(tmp_path / "set.jsonl"), "ko")


@row(SETS, "a spreadsheet instead of JSON", ValueError,
     "set.csv: expected a .json, .jsonl or .tsv file", "Save it as .jsonl.")
def csv_file(tmp_path):
    (tmp_path / "set.csv").write_text("instruction,output\n")
    read_instructions(str(tmp_path / "set.csv"), "ko")


@row(SETS, "two rows with one id", ValueError, "line 2: id 'x' is also that of …line 1", "Give each row its own.")
def same_id(tmp_path):
    (tmp_path / "set.jsonl").write_text((json.dumps(GOOD | {"id": "x"}) + "\n") * 2)
    read_instructions([str(tmp_path / "set.jsonl")], "ko")


@row(SETS, "too few examples to hold some out", ValueError,
     "ko: 1 examples are left; holding out 12 leaves none to train on", "Give more, or lower heldout_examples.")
def too_few(tmp_path):
    hold_out_examples(read_rows(tmp_path, GOOD), 12)


@row(SETS, "aligned text without its second column", ValueError,
     "pairs.tsv, line 1: expected English TAB Korean, found 'Turn on'", "Mend that line.")
def no_tab(tmp_path):
    (tmp_path / "pairs.tsv").write_text("Turn on\n")
    read_translations([str(tmp_path / "pairs.tsv")])


# ------------------------------------------------------------------------------------- translating and reviewing

REVIEW = "translation and review (04)"


@row(REVIEW, "a reviewer's file of another data set", ValueError,
     "민지.json: made for another dataset (000000000000; these drafts are …); merge it with the drafts its page…",
     "As it says.")
def other_dataset(six, exported):
    merging.read_review(exported("민지", {}, top={"dataset": "0" * 64}), six)


@row(REVIEW, "a file that the page did not write", ValueError,
     "mine.json: expected a file exported by the review page (", "Ask the reviewer to press Export.")
def no_export(six, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    merging.read_review(tmp_path / "mine.json", six)


@row(REVIEW, "two reviewers finished one row differently", ValueError,
     "1 conflicts are unsettled (first: …); choose a policy, or settle them on the adjudication page", "As it says.")
def conflict(six, exported, tmp_path):
    files = [exported(who, {six[0].id: {"fields": {"output": who}}}) for who in ("민지", "서준")]
    merging.write_merged(merging.merge_reviews(six, files), tmp_path / "set.jsonl")


@row(REVIEW, "nothing is marked as done", ValueError, "no row is marked as done: nothing to write",
     "Wait for the reviewers.")
def nothing_done(six, exported, tmp_path):
    merging.write_merged(merging.merge_reviews(six, [exported("민지", {})]), tmp_path / "set.jsonl")


@row(REVIEW, "half a character in a draft", ValueError, "draft …: a broken character at … 반쪽 '", "Mend the draft.")
def half_character(six):
    review.hash_drafts([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})])


def translator(tmp_path):
    """A translator whose server is not there."""
    server = ChatServer("http://127.0.0.1:9/v1", "tiny", tmp_path / "replies", tries=1)
    return translation.ServedTranslator(server, parallel=1)


@row(REVIEW, "no translation server at that address", RuntimeError,
     "tiny: stopped after 0 of 2 requests; their replies are in …replies, the next call continues there. no connection",
     "Start the server, and run again: what was replied is stored.")
def no_translator(tmp_path):
    translation.translate_examples(read_rows(tmp_path, GOOD), translator(tmp_path), requests=9)


@row(REVIEW, "a stored reply edited by hand", ValueError, "…replies/….json: not valid JSON", "Delete that file.")
def edited_replies(tmp_path):
    asked = translator(tmp_path)
    asked.store.put(asked.make_request("질문?", ""), reply="x")
    next((tmp_path / "replies").glob("*.json")).write_text("{")
    translation.translate_examples(read_rows(tmp_path, GOOD), asked, requests=9)


@row(REVIEW, "a broken line among the drafts", ValueError, "drafts.jsonl, line 1: no draft (", "Make the drafts again.")
def broken_draft(tmp_path):
    (tmp_path / "drafts.jsonl").write_text('{"id": 1}\n')
    drafts.read_drafts(tmp_path / "drafts.jsonl")
