import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blossom.instructions import drafts, translating, translators
from blossom.instructions.readers import read_instructions
from tests.server import free_port, save_tiny_model, served


class Service:
    """A real HTTP server that speaks the chat-completions protocol; "translates" by putting 번역: before the text."""

    def __init__(self):
        self.answered, self.fails_after, self.refuses, self.raw, self.finish = [], None, (), None, "stop"
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.last = asked
                text = asked["messages"][-1]["content"].split("<text>\n")[1].split("\n</text>")[0]
                with service.lock:
                    status, body = service.reply(text)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, text):
        if self.fails_after is not None and len(self.answered) >= self.fails_after:
            return 503, b'{"error": {"message": "out of service"}}'
        if any(word in text for word in self.refuses):
            return 400, b'{"error": {"message": "maximum context length exceeded"}}'
        if self.raw is not None:
            return 200, self.raw
        self.answered.append(text)
        message = {"role": "assistant", "content": f"<think>Hm.</think><text>\n번역: {text}\n</text>"}
        choice = {"index": 0, "finish_reason": self.finish, "message": message}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        return 200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


@pytest.fixture
def service():
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.fixture
def server(service):
    return translators.ServedTranslator("tiny", service.url, key="sk-secret", retries=0, timeout=10, parallel=2)


@pytest.fixture
def examples(tmp_path):
    file = tmp_path / "en.json"
    rows = [{"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."} for n in range(5)]
    rows.append({"conversations": ["Hi.", "Hello.", "Bye?", "Bye."]})
    file.write_text(json.dumps(rows), encoding="utf-8")
    return read_instructions(str(file), "en")


def test_every_field_is_translated_in_its_place(service, server, examples, tmp_path, capsys):
    told = translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=100)
    assert told[0].korean == {"instruction": "번역: Question 0?", "input": "", "output": "번역: Answer 0."}
    assert list(told[-1].korean) == ["history.1.user", "history.1.assistant", "instruction", "input", "output"]
    assert drafts.lima_row(told[-1].korean)["history"] == [["번역: Hi.", "번역: Hello."]]
    assert "6 rows, 14 texts; 0 are in" in capsys.readouterr().out
    assert len(service.answered) == 14 and not any(d.cut for d in told)


def test_the_plan_is_told_before_anything_is_sent(service, server, examples, tmp_path):
    plan = translating.plan_translation(examples, server, tmp_path / "replies.jsonl")
    assert (plan["rows"], plan["texts"], plan["kept"], plan["requests"]) == (6, 14, 0, 14)
    assert plan["characters"] == sum(len(t) for e in examples for t in drafts.example_fields(e).values())
    assert service.answered == []


def test_a_service_that_fails_half_way_is_not_paid_twice(service, server, examples, tmp_path):
    store = tmp_path / "replies.jsonl"
    service.fails_after = 6
    with pytest.raises(RuntimeError, match=r"stopped after 6 of 14 requests; their replies are in .*out of service"):
        translating.translate_examples(examples, server, store, requests=100)
    service.fails_after = None
    told = translating.translate_examples(examples, server, store, requests=100)
    assert sorted(service.answered) == sorted(t for e in examples for t in drafts.example_fields(e).values() if t)
    assert all(text.startswith("번역: ") for d in told for name, text in d.korean.items() if name != "input")
    translating.translate_examples(examples, server, store, requests=100)
    assert len(service.answered) == 14


def test_a_run_killed_while_writing_loses_only_that_line(service, server, examples, tmp_path):
    store = tmp_path / "replies.jsonl"
    translating.translate_examples(examples, server, store, requests=7)
    whole = store.read_bytes()
    store.write_bytes(whole[:-20])
    translating.translate_examples(examples, server, store, requests=0)
    told = translating.translate_examples(examples, server, store, requests=100)
    assert len(service.answered) == 15 and all(json.loads(line) for line in store.read_text(encoding="utf-8").splitlines())
    assert all(d.korean["output"] for d in told)


def test_a_real_server_that_dies_half_way_is_continued(examples, tmp_path):
    """`transformers serve`, killed after the third of 14 replies and started again at the same address."""
    save_tiny_model(tmp_path / "model")
    port, store, log = free_port(), tmp_path / "replies.jsonl", tmp_path / "log"
    translator = translators.find_translator(f"http://127.0.0.1:{port}/v1", str(tmp_path / "model"))
    translator = translators.ServedTranslator(
        translator.name, f"http://127.0.0.1:{port}/v1", max_tokens=4, parallel=1, retries=0
    )

    class Dying:
        """The translator, whose server is killed before the fourth request."""

        name, parallel, context, settings = translator.name, 1, translator.context, translator.settings
        asked = 0

        def __call__(self, text, context):
            self.asked += 1
            if self.asked == 4:
                server.kill()
                server.wait(20)
            return translator(text, context)

    stopped = pytest.raises(RuntimeError, match="stopped after 3 of 14 requests")
    with served(tmp_path / "model", port, log) as server, stopped:
        translating.translate_examples(examples, Dying(), store, requests=100)
    kept = store.read_text(encoding="utf-8").splitlines()
    assert len(kept) == 3 and translating.plan_translation(examples, translator, store)["requests"] == 11
    with served(tmp_path / "model", port, log):
        translating.translate_examples(examples, translator, store, requests=100)
    whole = store.read_text(encoding="utf-8").splitlines()
    assert whole[:3] == kept and len(whole) == 14
    assert all(json.loads(line)["cut"] and json.loads(line)["model"] == translator.name for line in whole)


def test_a_translator_is_found_by_its_name(translation_model):
    server = translators.find_translator("http://127.0.0.1:9/v1", "gpt")
    assert isinstance(server, translators.ServedTranslator) and server.name == "gpt"
    assert isinstance(translators.find_translator(str(translation_model)), translators.LocalTranslator)
    with pytest.raises(ValueError, match="translator_model: https://api.example/v1 must be asked for a model by name"):
        translators.find_translator("https://api.example/v1")


def test_the_budget_of_requests_is_kept(service, server, examples, tmp_path, capsys):
    told = translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=3)
    assert len(service.answered) == 3
    assert sum(bool(text) for d in told for text in d.korean.values()) == 3
    assert "11 texts have no translation yet" in capsys.readouterr().out


def test_wrong_requests_send_nothing(service, server, examples, tmp_path):
    with pytest.raises(ValueError, match="requests: expected at least 0, found -1"):
        translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=-1)
    with pytest.raises(ValueError, match="is given twice"):
        translating.translate_examples([examples[0], examples[0]], server, tmp_path / "replies.jsonl", requests=9)
    assert service.answered == []


def test_half_a_character_in_a_reply_is_no_reason_to_lose_it(service, server, examples, tmp_path):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "안녕 \ud83d"}}
    service.raw = json.dumps({"choices": [choice]}).encode()
    told = translating.translate_examples(examples[:1], server, tmp_path / "replies.jsonl", requests=9)
    assert told[0].korean["output"] == "안녕 ?"


def test_a_text_that_is_refused_stops_no_other(service, server, examples, tmp_path, capsys):
    service.refuses = ("Answer 3.",)
    told = translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=100)
    assert told[3].korean["output"] == "" and told[4].korean["output"]
    assert "output: refused, left empty (BadRequestError" in capsys.readouterr().out


def test_a_service_that_refuses_everything_is_not_asked_for_all(service, server, examples, tmp_path):
    service.refuses = ("",)
    with pytest.raises(RuntimeError, match="stopped after 0 of 14 requests.*It refuses every text"):
        translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=100)


@pytest.mark.parametrize("raw", [b"<html>gateway</html>", b'{"choices": []}', b'{"choices": null}'])
def test_an_answer_that_is_none_stops_with_a_reason(service, server, examples, tmp_path, raw):
    service.raw = raw
    with pytest.raises(RuntimeError, match="stopped after 0 of 14"):
        translating.translate_examples(examples, server, tmp_path / "replies.jsonl", requests=100)


def test_a_reply_at_the_length_limit_is_marked_as_cut(service, server, examples, tmp_path):
    service.finish = "length"
    assert translating.translate_examples(examples[:1], server, tmp_path / "r.jsonl", requests=9)[0].cut == (
        "instruction",
        "output",
    )


def test_other_settings_ask_again_and_the_key_is_written_nowhere(service, server, examples, tmp_path):
    store = tmp_path / "replies.jsonl"
    translating.translate_examples(examples[:1], server, store, requests=9)
    other = translators.ServedTranslator("tiny", service.url, key="sk-secret", max_tokens=50, retries=0)
    assert translating.plan_translation(examples[:1], other, store)["requests"] == 2
    assert "sk-secret" not in store.read_text(encoding="utf-8")


def test_the_conversation_so_far_is_shown_to_the_service(service, server, examples, tmp_path):
    one = translators.ServedTranslator("tiny", service.url, key="k", parallel=1, retries=0)
    translating.translate_examples(examples[-1:], one, tmp_path / "r.jsonl", requests=9)
    asked = service.last["messages"][-1]["content"]
    assert "Request: Hi.\nAnswer: Hello.\nRequest: Bye?" in asked and asked.endswith("<text>\nBye.\n</text>")


def test_two_runs_do_not_write_into_one_store(server, examples, tmp_path):
    store = tmp_path / "replies.jsonl"
    with translating.Replies(store), pytest.raises(RuntimeError, match="another run is translating into it"):
        translating.translate_examples(examples, server, store, requests=1)


def test_a_store_that_is_none_is_named(server, examples, tmp_path):
    store = tmp_path / "replies.jsonl"
    store.write_text('{"key": "a", "text": "b", "cut": false}\n{"x": 1}\n{"key": "c", "text": "b", "cut": false}\n')
    with pytest.raises(ValueError, match="replies.jsonl, line 2: no stored reply"):
        translating.translate_examples(examples, server, store, requests=1)


def test_drafts_survive_a_file(tmp_path):
    listed = [
        drafts.Draft(
            "a", "how-to", {"instruction": "Hi", "output": "<b>"}, {"instruction": "안녕", "output": ""}, ("output",)
        )
    ]
    drafts.write_drafts(listed, tmp_path / "d.jsonl")
    assert drafts.read_drafts(tmp_path / "d.jsonl") == listed
    (tmp_path / "d.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match="d.jsonl, line 1: no draft"):
        drafts.read_drafts(tmp_path / "d.jsonl")


def test_a_system_message_has_no_place_in_the_lima_form(tmp_path):
    file = tmp_path / "s.jsonl"
    turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    file.write_text(json.dumps({"messages": turns}), encoding="utf-8")
    with pytest.raises(ValueError, match="s.jsonl, line 1: opens with a system message"):
        drafts.example_fields(read_instructions(str(file), "en")[0])


@pytest.mark.parametrize("text", ["", "A b. C!  d\n\n- e? f\n```\nx. y\n```\n 2) g", "~~~\nnever closed. code\n"])
def test_sentences_join_to_the_text_again(text):
    assert "".join(part for part, _ in translators._sentences(text)) == text


PAIRS = {
    "Boil the water.": "물을 끓이세요.",
    "Add salt.": "소금을 넣으세요.",
    "Stir it well.": "잘 저으세요.",
    "Steps:": "순서:",
}


@pytest.fixture(scope="module")
def translation_model(tmp_path_factory):
    """A real NLLB model, tiny, that has learned four sentences by heart."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    letters = sorted(set("".join(PAIRS) + "".join(PAIRS.values()) + "▁") - {" "})
    vocabulary = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", tgt_lang="kor_Hang")
    torch.manual_seed(0)
    size = {"d_model": 64, "max_position_embeddings": 64, "scale_embedding": False, "dropout": 0.0, "attention_dropout": 0.0}
    size |= {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 1), ("ffn_dim", 128), ("layerdrop", 0))
    }
    config = M2M100Config(
        vocab_size=len(tokenizer), encoder_attention_heads=4, decoder_attention_heads=4, activation_dropout=0.0, **size
    )
    model = M2M100ForConditionalGeneration(config).train()
    batch = tokenizer(list(PAIRS), text_target=list(PAIRS.values()), return_tensors="pt", padding=True)
    labels = batch.pop("labels")
    labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a model this small a second thread only waits
    for _ in range(60):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    folder = tmp_path_factory.mktemp("nllb")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_translates_prose_and_leaves_format_alone(translation_model, tmp_path):
    translator = translators.LocalTranslator(str(translation_model), new_tokens=32)
    code = "```python\nprint(1)  # Add salt.\n```"
    file = tmp_path / "en.json"
    row = {"instruction": "Boil the water.", "output": f"Steps:\n\n1. Boil the water. Add salt.\n- Stir it well.\n\n{code}"}
    file.write_text(json.dumps([row]), encoding="utf-8")
    store = tmp_path / "replies.jsonl"
    (told,) = translating.translate_examples(read_instructions(str(file), "en"), translator, store, requests=9)
    assert told.korean["instruction"] == "물을 끓이세요."
    assert told.korean["output"] == f"순서:\n\n1. 물을 끓이세요. 소금을 넣으세요.\n- 잘 저으세요.\n\n{code}"
    assert not told.cut
    short = translators.LocalTranslator(str(translation_model), new_tokens=4)
    assert short("Boil the water.", "")["cut"]
