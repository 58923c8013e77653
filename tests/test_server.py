"""The client of OpenAI-compatible servers and the store of replies: budget, retries, refusals, keys, several threads."""

import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from blossom.common.server import LARGEST, ROOM, ChatServer
from tests.cases import read_cases
from tests.server import completion

CASES = read_cases(__file__)
GONE = "http://127.0.0.1:9/v1"


@pytest.fixture
def client(tmp_path):
    return lambda url, **more: ChatServer(url, "m", tmp_path / "replies", **{"pause": lambda seconds: None} | more)


def ask(client, text="Hi \ud83d", **settings):
    return client.ask(client.make_request([{"role": "user", "content": text}], **settings))


def test_a_stored_reply_needs_no_server_but_is_that_servers_only(serve, client, tmp_path):
    server, other = serve(lambda body, n: f"{body['messages'][0]['content']}!"), serve(lambda body, n: "other")
    expected = client(GONE).make_request([{"role": "user", "content": "Hi ?"}], seed=1)  # half a character cannot be sent
    assert ask(client(server.url), seed=1) == "Hi ?!" and server.bodies[0] == expected
    assert ask(client(other.url), seed=1) == "other"
    server.stop()
    again = client(server.url)
    assert ask(again, seed=1) == "Hi ?!" and (again.sent, again.replayed) == (0, 1)
    assert ask(client(server.url, tries=1), seed=2) is None  # another setting is another request
    assert ask(ChatServer(server.url, "n", tmp_path / "replies", tries=1), seed=1) is None  # and so is another model


def test_busy_and_broken_servers_are_asked_again(serve, client):
    broken = '{"choices": [', "<html>gateway</html>", '{"choices": []}', '{"choices": null}'
    unreadable = [(200, {}, raw) for raw in broken]
    busy = [(429, {"Retry-After": "7"}, "{}"), (503, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, "busy")]
    waits, failures = [], [*busy, *unreadable, "B"]
    found = client(serve(lambda body, n: failures[n - 1]).url, pause=waits.append, tries=7)
    assert ask(found) == "B" and found.sent == 7 and waits == [7.0, 60.0, 4.0, 8.0, 16.0, 32.0]
    assert found.failures == {"HTTP 429": 1, "HTTP 503": 1, "unreadable reply": 4}


def test_what_went_wrong_is_stored_and_asked_again(serve, client, tmp_path):
    server = serve(lambda body, n: (500, {}, "broken") if n < 3 else "A")
    assert ask(client(server.url, tries=2)) is None
    (record,) = [json.loads(f.read_text(encoding="utf-8")) for f in (tmp_path / "replies").rglob("*.json")]
    assert record["reply"] is None and all("HTTP 500" in e for e in record["errors"])
    assert ask(client(server.url)) == "A"


def test_a_server_that_is_gone_broken_or_slow_is_not_asked_for_everything(serve, client):
    broken, slow = serve(lambda body, n: (500, {}, "broken")), serve(lambda body, n: time.sleep(0.6) or "A")
    drips = serve(lambda body, n: (200, {}, (time.sleep(0.05) or b" " for _ in itertools.count()))).url  # without end
    kinds = (GONE, 2, "no connection"), (broken.url, 6, "HTTP 500"), (slow.url, 6, "timeout"), (drips, 6, "timeout")
    for url, sent, failure in kinds:
        found = client(url, tries=2, timeout=0.2)
        assert [ask(found, str(n)) for n in range(50)] == [None] * 50
        assert found.gave_up and found.sent == sent and set(found.failures) == {failure}


def test_a_wrong_key_stops_at_once_and_is_written_nowhere(serve, client, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = serve(lambda body, n: (401, {}, '{"error": {"message": "bad key sk-secret"}}'))
    found = client(server.url, called="judge_url")
    with pytest.raises(RuntimeError, match="judge_url: .* answers 401 for m: .*bad key") as raised:
        ask(found)
    assert len(server.bodies) == 1 and found.gave_up and "sk-secret" not in str(raised.value) + found.last_error
    server.reply = lambda body, n: (500, {}, "no service for sk-secret")
    ask(client(server.url))
    server.reply = lambda body, n: str(server.keys[-1])
    assert ask(client(server.url)) == "Bearer (key)"
    other = serve(lambda body, n: "B")
    server.reply = lambda body, n: (307, {"Location": other.url.replace("127.0.0.1", "localhost") + "/chat/completions"}, "")
    assert ask(client(server.url), "to another host") == "B"
    assert (server.keys[-1], other.keys) == ("Bearer sk-secret", [None])
    server.reply = lambda body, n: (200, {}, json.dumps({"data": [{"id": "sk-secret"}, {"id": "m"}]}))
    with pytest.raises(RuntimeError, match=r"what it serves: \(key\), m"):
        ChatServer(server.url, "", tmp_path / "replies")
    assert not any("sk-secret" in f.read_text(encoding="utf-8") for f in (tmp_path / "replies").rglob("*.json"))


def test_one_refused_text_stops_no_other_but_refusing_all_does(serve, client):
    server = serve(lambda body, n: "A" if body["messages"][0]["content"] == "good" else (400, {}, "too long"))
    found = client(server.url)
    assert ask(found, "good") == "A" and [ask(found, str(n)) for n in range(5)] == [None] * 5 and not found.gave_up
    found = client(server.url)
    assert [ask(found, str(n)) for n in range(9)] == [None] * 9 and found.gave_up and found.sent == 3


def test_a_refused_setting_is_left_out_and_listed(serve, client):
    def reply(body, number):
        if "temperature" in body:
            return 400, {}, '{"error": {"message": "Unsupported value: temperature"}}'
        return "A" if "max_completion_tokens" in body else (400, {}, '{"error": {"message": "max_tokens: use another"}}')

    server = serve(reply)
    found = client(server.url)
    assert [ask(found, str(n), temperature=0, max_tokens=5) for n in range(2)] == ["A", "A"]
    assert found.unsupported == ["temperature", "max_tokens"] and len(server.bodies) == 4


def test_the_budget_of_requests_holds_for_several_threads(serve, client):
    server = serve(lambda body, n: "A")
    found = client(server.url, requests=5)
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda n: ask(found, str(n)), range(12)))
    assert texts.count("A") == found.sent == len(server.bodies) == 5 and found.failures == {"budget used up": 7}


def test_money_is_reserved_before_it_is_spent_and_corrected_by_the_usage(serve, client):
    usage = {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}
    priced = {"prices": (10.0, 20.0), "requests": 100}
    request = client(GONE).make_request([{"role": "user", "content": "Hi"}], max_tokens=64)
    highest = client(GONE, **priced).max_cost(request)
    assert highest == pytest.approx((64 + 2 + 8) * 10e-6 + 64 * 20e-6)
    assert not client(GONE, money=1.5 * highest, **priced).affords([request] * 2)
    blind = client(serve(lambda body, n: "A").url, money=1.5 * highest, **priced)
    assert [ask(blind, f"{n}a", max_tokens=64) for n in range(2)] == ["A", None]  # without a usage the highest cost counts
    told = client(serve(lambda body, n: (200, {}, completion("A", usage=usage))).url, money=1.0, **priced)
    assert ask(told, "new", max_tokens=64) == "A" and told.spent == pytest.approx((300 * 10 + 5 * 20) / 1e6)
    assert ask(client(GONE, **priced), "other") is None  # by default a priced server gets nothing


def test_a_reply_that_is_cut_or_only_reasoning_is_asked_for_once_more_with_room_and_counted(serve, client, tmp_path):
    for n, (text, finish) in enumerate(CASES["no_answers"]):
        raw = completion(text, finish, reasoning_content="A is better")
        server = serve(lambda body, n, raw=raw: (200, {}, raw if n == 1 else completion("</think>C")))
        assert ask(client(server.url), str(n), max_tokens=9) == ("C" if n else "B")
        assert [body["max_tokens"] for body in server.bodies] == [9, 9 + ROOM][: 2 if n else 1]
    server.reply = lambda body, n: (200, {}, completion("A", "length"))
    found = client(server.url)
    assert [ask(found, f"cut {n}", max_tokens=9) for n in range(5)] == [None] * 5 and "cut off" in found.last_error
    assert found.failures == {"cut off": 5} and found.sent == 3 * 2 + 2, "after three in vain nothing is asked twice"
    request = found.make_request([{"role": "user", "content": "old"}], max_tokens=9)
    found.store.put(request, reply="A is better, since", usage={"in": 1, "out": 9})  # before it was stored what is cut
    server.reply = lambda body, n: "C"
    assert found.stored_reply(request) is None and [client(server.url).ask(request) for _ in "12"] == ["C", "C"]
    assert server.bodies[-1]["max_tokens"] == 9 + ROOM and server.bodies[-2] != server.bodies[-1]
    server.reply = lambda body, n: (200, {}, completion("A", "length"))
    assert client(server.url).fetch({name: request[name] for name in ("model", "messages")})
    assert server.bodies[-1]["max_tokens"] > ROOM, "more than the first reply had, where the request says no number"


@pytest.mark.parametrize(("text", "answer"), CASES["spoken"])
def test_only_reasoning_at_the_start_of_a_reply_is_left_out(client, text, answer):
    found = client(GONE)
    found.store.put({"a": 1}, reply=text)
    assert found.stored_reply({"a": 1}) == answer


@pytest.mark.parametrize(("status", "raw", "answer", "told"), CASES["odd_replies"])
def test_an_odd_reply_is_an_answer_of_unknown_cost_or_one_message(serve, client, status, raw, answer, told):
    raw = raw.replace("NESTED", "[" * 100_000 + "]" * 100_000).replace("LONG", "A" * LARGEST)
    found = client(serve(lambda body, n: (status, {}, raw)).url, tries=1, money=1.0, prices=(10.0, 20.0))
    assert ask(found) == answer and re.search(told, found.last_error)
    assert found.spent == pytest.approx((64 + 4 + 8) * 10e-6 if status == 200 else 0)  # the highest cost


def test_an_address_may_be_azures_or_name_the_route_and_no_proxy_leads_to_this_machine(serve, client, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    server = serve(lambda body, n: "A")
    for end, *sent in CASES["addresses"]:
        assert [ask(client(server.url.removesuffix("/v1") + end)), server.paths[-1], server.keys[-1]] == ["A", *sent]


def test_the_model_of_a_server_is_asked_for_and_stored(serve, tmp_path, monkeypatch):
    server = serve(lambda body, n: "A")
    found = ChatServer(server.url, "", tmp_path)
    assert found.model == "m" and found.sent == 1 and server.bodies[0]["model"] is None
    for usage in ("7", {"out": "7"}, [7]):  # of an old file, or of one that was edited
        found.store.put({"a": 1}, reply="kept", usage=usage)
        assert found.stored_reply({"a": 1}) == "kept"
    listed = json.dumps({"data": [{"id": "mine.gguf"}]})
    server.reply = lambda body, n: (200, {}, listed if not body else completion("A").replace('"m"', '"gpt-3.5-turbo"'))
    assert ChatServer(server.url, "", tmp_path / "llama.cpp").model == "mine.gguf"
    server.stop()
    assert ChatServer(server.url, "", tmp_path).model == "m"
    with pytest.raises(RuntimeError, match="judge_url, judge_model: name the model .* is the server there.*attempts failed"):
        ChatServer(GONE, "", tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u200bsecret")
    with pytest.raises(ValueError, match="OPENAI_API_KEY: expected printable ASCII .* copy the key again$"):
        ChatServer(server.url, "m", tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert [ChatServer(GONE, m, tmp_path).name for m in ("/home/someone/small/", "org/small")] == ["small", "org/small"]
