"""People as judges: the batch, the raters' page in a real Chromium, and what comes back."""

import json
import re
import stat
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import product

import pytest
from bs4 import BeautifulSoup

from blossom.preference import people
from tests.browser import LEFT

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"></script><script> [a](js:1)"
MODELS = ("blossom-secret", "base-secret")


def answers(prompts=12, languages=("ko", "en"), **replaced):
    """Answer rows of two models; `replaced` maps a prompt's id to the first model's Korean answer."""
    shown = {(MODELS[0], "ko", name): text for name, text in replaced.items()}
    return [
        {"model": m, "prompt_id": f"p{n}", "kind": "code", "language": k, "prompt": f"질문 {n}"}
        | {"answer": shown.get((m, k, f"p{n}"), f"{n} {k} {m == MODELS[0]}")}
        for n, k, m in product(range(prompts), languages, MODELS)
    ]


def a_batch(raters=("가람", "나래"), **settings):
    return people.make_batch(answers(), raters=raters, **{"secret": b"s" * 32} | settings)


def exported(batch, rater, choose, only=None, **changed):
    """A file's content as the page exports it; `choose(item)` gives the choice."""
    listed = people.list_items(batch, rater)[:only]
    given = [{"id": i.id, "choice": choose(i), "seconds": 5, "at": "2026-01-02T03:04:05.678Z"} for i in listed]
    content = {"format": people.FORMAT, "batch": batch.digest, "rater": rater, "verdicts": given}
    return content | {"checksum": people.checksum_ratings(batch.digest, rater, given)} | changed


def write(folder, name, content):
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def for_model(batch, model):
    """A rater who always prefers `model`."""
    return lambda item: "A" if batch.pairs[item.pair][f"model_{item.first}"] == model else "B"


def test_every_rater_sees_every_pair_once_and_some_again_with_the_sides_exchanged():
    batch = a_batch(repeats=5)
    for rater in batch.raters:
        seen = people.list_items(batch, rater)
        first = {i.pair: (n, i) for n, i in enumerate(seen) if i.look == 1}
        again = {i.pair: (n, i) for n, i in enumerate(seen) if i.look == 2}
        assert sorted(first) == list(range(24)) and len(again) == 5 and len(seen) == 29
        for pair, (n, item) in again.items():
            assert item.first != first[pair][1].first
            assert n - first[pair][0] > 8
    assert [i.pair for i in people.list_items(batch, "가람")] != [i.pair for i in people.list_items(batch, "나래")]
    assert len({i.id for i in people.list_items(batch, "가람")}) == 29


def test_a_rater_sees_an_answer_beside_one_other_and_raters_share_some_pairs_but_not_all():
    third = [row | {"model": "third", "answer": row["answer"] + "!"} for row in answers() if row["model"] == MODELS[1]]
    against = [(MODELS[0], other) for other in (MODELS[1], "third")]
    batch = people.make_batch([*answers(), *third], against, ["a", "b"], repeats=0, secret=b"s" * 32)
    seen = [{i.pair for i in people.list_items(batch, rater)} for rater in batch.raters]
    for own in seen:
        assert len({(batch.pairs[n]["prompt_id"], batch.pairs[n]["language"]) for n in own}) == len(own) == 24
    assert 4 < len(seen[0] & seen[1]) < 20 and {batch.pairs[n]["model_b"] for n in seen[0]} == {MODELS[1], "third"}


def test_sides_and_order_depend_on_a_secret_that_its_owner_alone_can_read(tmp_path):
    secret = people.keep_secret(tmp_path / "raters")
    (file,) = (tmp_path / "raters").iterdir()
    assert len(secret) == 32 and stat.S_IMODE(file.stat().st_mode) == 0o600 and people.keep_secret(file.parent) == secret
    one, again, other = (people.list_items(a_batch(secret=s), "가람") for s in (secret, secret, b"x" * 32))
    assert one == again and [i.pair for i in one] != [i.pair for i in other]
    own = people.publish_batch(a_batch(secret=secret), tmp_path)[1][0].parent
    told = [secret, secret.hex().encode(), repr(secret).encode()]
    assert not [f for f in own.iterdir() if any(form in f.read_bytes() for form in told)]
    batch = a_batch(raters=("a", "b", "c"), pairs_per_rater=8, repeats=0)  # a share each: all are seen equally often
    assert sorted(i.pair for rater in batch.raters for i in people.list_items(batch, rater)) == list(range(24))


def test_a_curious_rater_is_at_chance_about_sides_and_finds_no_repeat_by_its_id_or_place():
    weak, strong = (people.make_batch(answers(200, ("ko",)), raters=["x"], repeats=60, secret=s) for s in (b"41235", None))

    def try_secrets(batch):  # with the program, the page's data and the names of the models
        html = people.render_rating_page(batch, "x")
        page = json.loads(BeautifulSoup(html, "html.parser").find(id="data").string)
        assert "secret" not in html  # which is in the models' names
        assert page.keys() == {"format", "batch", "rater", "items"}
        assert all(item.keys() == {"id", "language", "prompt", "answers"} for item in page["items"])
        ids = {item["id"] for item in page["items"]}
        for secret in (str(n).encode() for n in range(100_001)):
            tried = partial(replace(batch, pairs=(), secret=secret).draw, page["batch"], "id", "x", 0)
            if {tried(first, 1).hex()[:12] for first in "ab"} & ids:
                return secret

    assert (try_secrets(weak), try_secrets(strong)) == (b"41235", None)
    items = people.list_items(strong, "x")
    once = [(n, i) for n, i in enumerate(items) if i.look == 1]
    signs = [[n % 2, int(i.id, 16) % 2, i.id < "8", sha256(f"p{i.pair}".encode()).digest()[0] % 2] for n, i in once]
    for sign in zip(*signs, strict=True):
        assert 60 < sum(told == (i.first == "a") for told, (_, i) in zip(sign, once, strict=True)) < 140
    shown = {(i.pair, i.look): (i.id, {items[n - 1].pair, items[(n + 1) % len(items)].pair}) for n, i in enumerate(items)}
    twice = [(shown[pair, 1], shown[pair, 2]) for pair, look in shown if look == 2]
    assert len(twice) == 60 and all(a[1] != b[1] for a, b in twice) and sum(a[0][0] == b[0][0] for a, b in twice) < 20


def test_the_digest_follows_the_answers_but_not_the_raters_who_may_join_a_published_batch(tmp_path):
    batch, other = a_batch(raters=["가람"]), people.make_batch(answers(p3="반쪽"), raters=["나래"])
    assert other.digest != batch.digest == a_batch(raters=["나래"]).digest
    people.publish_batch(batch, tmp_path)
    more, pages = people.publish_batch(a_batch(raters=["나래"]), tmp_path)
    assert more.raters == ("가람", "나래") and [p.name for p in pages] == ["rate-가람.html", "rate-나래.html"]
    assert people.publish_batch(other, tmp_path)[0].raters == ("나래",)
    assert len(list(tmp_path.rglob("batch.json"))) == 2  # the earlier key is still there


def test_answers_that_do_not_make_pairs_are_refused():
    with pytest.raises(ValueError, match="base-secret has no answer to prompt p11 .en."):
        people.make_batch(answers()[:-1])


@pytest.mark.parametrize("raters", [[], [""], ["x", "X "], ["a" * 61], ["a\nb"]])
def test_raters_need_different_names_that_can_be_shown(raters):
    with pytest.raises(ValueError, match="raters: expected"):
        a_batch(raters=raters)


def test_files_that_do_not_belong_are_refused_with_the_reason_and_nothing_else_is_lost(tmp_path):
    batch = a_batch()
    good = exported(batch, "가람", lambda i: "neither")
    edited = exported(batch, "나래", lambda i: "A")
    edited["verdicts"][3]["choice"] = "B"
    bad = {  # file name -> its content, and what the reason says
        "edited": (edited, "edited by hand"),
        "other": (exported(a_batch(secret=b"t" * 32), "나래", lambda i: "A"), "another batch"),
        "stranger": (good | {"rater": "모름"}, "모름"),
        "form": (good | {"format": "something/2"}, people.FORMAT),
        "list": ([1], people.FORMAT),
        "odd": (good | {"verdicts": [1]}, "no list of verdicts"),
        "half": ({"format": people.FORMAT, "batch": batch.digest, "rater": "\ud800"}, "not valid JSON"),
    }
    files = [write(tmp_path, "good.json", good), *(write(tmp_path, f"{name}.json", bad[name][0]) for name in bad)]
    (tmp_path / "broken.json").write_bytes(b'{"format": \xff')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    unreadable = [tmp_path / f"{name}.json" for name in ("broken", "deep", "missing")]
    got = people.merge_ratings(batch, [*files, *unreadable])
    assert len(got.verdicts) == 30 and set(got.verdicts.winner) == {"tie"}
    assert list(got.files.status) == ["taken"] + ["refused"] * 10
    why = dict(zip(got.files.file, got.files.why, strict=True))
    assert all(words in why[f"{name}.json"] for name, (_, words) in bad.items())
    assert all(re.search("not valid JSON|no such file", why[file.name]) for file in unreadable)


def test_a_file_sent_twice_counts_once_and_a_part_that_grew_is_no_conflict(tmp_path):
    batch = a_batch()
    part, whole = (exported(batch, "가람", for_model(batch, MODELS[0]), only=n) for n in (10, None))
    sent = [write(tmp_path, f"{n}.json", c) for n, c in enumerate([part, part | {"exported": "later"}, whole])]
    sent[1].write_bytes(b"\xef\xbb\xbf" + sent[1].read_bytes().replace(b", ", b",\r\n"))  # saved by a text editor
    got = people.merge_ratings(batch, [tmp_path, sent[0]])
    assert list(got.files.status) == ["taken"] * 3 and list(got.files.verdicts) == [10, 10, 30]
    assert len(got.verdicts) == 30 and got.left_out.empty and set(got.verdicts.winner) == {"a"}
    assert set(got.verdicts.first_shown) == {"a", "b"} and (got.verdicts["look"] == 2).sum() == 6
    assert len(people.merge_ratings(batch, sent[:1]).verdicts) == 10  # a part alone counts too


def test_different_verdicts_of_one_rater_are_shown_and_not_counted(tmp_path):
    batch = a_batch(repeats=0)
    three = [item.id for item in people.list_items(batch, "가람")[:3]]
    last = exported(batch, "가람", lambda i: "neither" if i.id in three else "A")
    files = [write(tmp_path, "2.json", last), write(tmp_path, "1.json", exported(batch, "가람", lambda i: "A"))]
    got = people.merge_ratings(batch, files)
    assert len(got.verdicts) == 21 and len(got.left_out) == 6
    assert {tuple(row) for row in got.left_out[["file", "choice"]].to_numpy()} == {("2.json", "neither"), ("1.json", "A")}
    assert set(got.left_out.id) == set(three)


def test_unknown_ids_and_values_are_left_out_one_by_one_and_listed(tmp_path):
    batch = a_batch(raters=("가람", "나래"), pairs_per_rater=12, repeats=0)
    content = exported(batch, "가람", lambda i: "A")
    given = content["verdicts"]
    given[0]["id"], given[1]["choice"], given[2]["seconds"], given[3]["at"] = "nosuchpair00", "C", -1, "yesterday"
    given.append(exported(batch, "나래", lambda i: "A")["verdicts"][0])
    given.append({"id": ["x"], "choice": {}})
    content["checksum"] = people.checksum_ratings(batch.digest, "가람", given)
    got = people.merge_ratings(batch, [write(tmp_path, "f.json", content)])
    assert len(got.verdicts) == 8 and len(got.left_out) == 6
    for words, count in {"no pair": 3, "one of A, B": 1, "not a time": 2}.items():
        assert got.left_out.why.str.contains(words).sum() == count


@pytest.fixture
def rated_page(browser, tmp_path):
    hostile = {"p0": EVIL, "p1": "safe \u202egnp.exe\u202c end\u200b", "p2": "가" * 100_000, "p3": "", "p4": " \n"}
    hostile |= {"p5": "0 <b>bold</b> &amp;", "p6": "\u202e\u200b가" * 33_000}
    batch = people.make_batch(answers(7, ("ko",), **hostile), raters=["가람", "나래"], repeats=2)
    path = people.publish_batch(batch, tmp_path)[1][0]
    browser.open(path).run("localStorage.clear()")
    browser.open(path).errors()
    return browser, batch, path


def press(browser, keys):
    for key in keys:
        browser.wait(lambda: not browser.run("return state.busy"))
        browser.keys(key)
    browser.wait(lambda: not browser.run("return state.busy"))


def choices(browser):
    return [v["choice"] for v in browser.run("return listed()")]


def test_rating_reloading_resuming_and_exporting_in_chromium(rated_page):
    browser, batch, path = rated_page
    items = people.list_items(batch, "가람")
    assert browser.find("#guide").is_displayed()
    press(browser, "1")  # nothing is rated while the guide is open
    assert choices(browser) == []
    browser.find("#guide .main").click()
    press(browser, "123")
    assert choices(browser) == ["A", "B", "neither"] and re.findall(r"\d+", browser.find("#count").text) == ["9", "3"]
    browser.open(path)  # as if closed and opened again
    assert choices(browser) == ["A", "B", "neither"] and browser.run("return state.at") == 3
    assert not browser.find("#guide").is_displayed()
    press(browser, [LEFT, LEFT, "3"])  # back to the second, and otherwise
    assert choices(browser) == ["A", "neither", "neither"]
    press(browser, "z")  # no: undone
    assert choices(browser) == ["A", "B", "neither"] and browser.run("return state.at") == 1
    part = people.merge_ratings(batch, [browser.export()])
    assert list(part.files.status) == ["taken"] and len(part.verdicts) == 3
    for _ in items[3:]:  # the mouse does the rest
        browser.run("show(firstOpen())")
        browser.find('.vote[data-choice="A"]').click()
        browser.wait(lambda: not browser.run("return state.busy"))
    assert browser.all("#screen .finished")
    got = people.merge_ratings(batch, [browser.export()])
    assert got.left_out.empty and len(got.verdicts) == 9
    assert choices(browser) == ["A", "B", "neither"] + ["A"] * 6
    assert browser.errors() == []


def test_no_answer_is_executed_and_every_answer_can_be_read_in_chromium(rated_page):
    browser, batch, _ = rated_page
    browser.run("document.getElementById('guide').close()")
    look = """const card = document.querySelectorAll('.answer')[arguments[0]];
        return {inside: card.querySelector('.text, .empty').textContent, height: card.offsetHeight, empty:
            Boolean(card.querySelector('.empty')), elements: card.querySelectorAll('script, img, a, b b').length}"""
    shown = {}
    for n, item in enumerate(people.list_items(batch, "가람")):
        browser.run(f"show({n})")
        shown[batch.pairs[item.pair]["prompt_id"]] = browser.run(look, 0 if item.first == "a" else 1)  # of the first model
    assert shown["p0"]["inside"] == EVIL and shown["p5"]["inside"] == "0 <b>bold</b> &amp;"
    assert "RLO" in shown["p1"]["inside"] and "ZWSP" in shown["p1"]["inside"] and "\u202e" not in shown["p1"]["inside"]
    assert len(shown["p2"]["inside"]) == 100_000 and shown["p2"]["height"] < 700
    assert shown["p6"]["inside"].count("가") == 33_000 and shown["p6"]["inside"].count("RLO") == 1000
    assert shown["p3"]["empty"] and shown["p4"]["empty"] and not shown["p5"]["empty"]
    assert all(card["elements"] == 0 for card in shown.values()) and browser.run("return document.scripts.length") == 2
    browser.run("const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)")
    assert browser.driver.title not in ("1", "owned")  # even a script that got in would not run
    assert any("Content Security Policy" in line["message"] for line in browser.errors())


def test_two_raters_in_one_browser_do_not_mix_and_a_file_carries_work_to_another_browser(rated_page):
    browser, _, path = rated_page
    browser.find("#guide .main").click()
    press(browser, "12")
    file = browser.export().read_text(encoding="utf-8")
    taking = "return importFile(new File([arguments[0]], 'f.json'))"
    browser.open(path.parent / "rate-나래.html").run(taking, file)
    assert "가람" in browser.told() and choices(browser) == []
    browser.run("localStorage.clear()")
    browser.open(path).run(taking, file.replace('"choice": "A"', '"choice": "B"'))
    assert browser.told() and choices(browser) == []  # edited by hand
    browser.run(taking, file)
    assert choices(browser) == ["A", "B"]


def test_a_page_that_cannot_save_says_so_and_still_exports(rated_page):
    browser, batch, _ = rated_page
    browser.find("#guide .main").click()
    browser.run("Storage.prototype.setItem = () => { throw new Error('full') }")
    press(browser, "1")
    assert "bad" in browser.find("#saved").get_attribute("class")
    assert len(people.merge_ratings(batch, [browser.export()]).verdicts) == 1
    browser.run("state.saved = true")  # let the test leave the page
