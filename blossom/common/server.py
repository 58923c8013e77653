"""The client of OpenAI-compatible servers, with a budget; replies are stored, so a second run needs no server and no key."""

import base64
import functools
import hashlib
import html
import json
import os
import re
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

import anyio.from_thread
import httpx2
import openai
import urllib3

from blossom.common import params, paths

TOLD = paths.read_yaml_beside(__file__)
REASONING = re.compile(TOLD["reasoning"].replace("TAG", TOLD["tag"]), re.DOTALL | re.IGNORECASE | re.VERBOSE)
OVERHEAD = 64  # most tokens that a chat template adds to the messages
ROOM = 2048  # tokens more for the second try of a reply that was cut off, or empty since the model only reasoned
FAILURES = 3  # requests in a row without a reply (or one without a connection) after which nothing more is sent
LARGEST = 10_000_000  # bytes of a reply that are read
TLS = functools.cache(httpx2.create_ssl_context)  # made once: it reads all certificates, which takes 0.1 s
ERRORS = (openai.OpenAIError, TimeoutError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
ERRORS += (ImportError,)  # of the package that a SOCKS proxy needs


class ReplyStore:
    """Replies in a folder, one JSON file each. A request is a JSON-able dict of everything that its reply depends on."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def _file(self, request):
        text = json.dumps(request, sort_keys=True, ensure_ascii=False)
        return self.folder / f"{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}.json"

    def get(self, request, kind=str | None):
        """What was stored with this request (a dict), or None; ValueError for a reply that is not of this `kind`."""
        file = self._file(request)
        return paths.read_json(file, {"reply": kind}) if file.exists() else None

    def put(self, request, **found):
        """Store `found` (reply=..., ...) with the request and the time."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        paths.write_json(self._file(request), {"request": request} | found | {"at": at})


class ChatServer:
    """One model on an OpenAI-compatible server (vLLM, llama.cpp, `transformers serve`, a paid service).

    url       up to `/v1`;  model  its name on the server; empty asks the server
    folder    gets a `ReplyStore` for each address, since servers may call different models alike
    called    the parameters that error messages name;  among  the model's name, if the server turns out to serve several
    requests  most HTTP requests to send, retries included
    money     most to spend;  prices  of a million input and output tokens, in the same currency; (0, 0): free
    timeout   seconds for one reply, from the first byte sent to the last received;  tries  HTTP requests for it

    The key is read from OPENAI_API_KEY and removed from all that is kept or told; ParameterError for one in the address. A
    request's highest cost is reserved before it is sent and corrected by the usage in the reply.
    """

    def __init__(
        self, url, model, folder, requests=200, money=0.0, prices=(0.0, 0.0), timeout=120.0, tries=3, pause=time.sleep,
        called="judge_url, judge_model", among="",
    ):  # fmt: skip
        params.refuse_secret(called, url)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{called}: expected http://… or https://…, found {url!r}")
        self.store = ReplyStore(Path(folder) / hashlib.sha256(f"{among}@{url}".encode()).hexdigest()[:16])
        self.url, self.requests, self.money, self.prices = url, requests, money, prices
        self.timeout, self.tries, self.pause, self.called = timeout, tries, pause, called
        self.sent, self.replayed, self.spent, self.failures = 0, 0, 0.0, Counter()
        self.last_error, self.unsupported = "", []  # unsupported: settings that the server refused, sent no more
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (self._key.isascii() and " " not in self._key and self._key.isprintable()):
            raise ValueError("OPENAI_API_KEY: expected printable ASCII characters without spaces: copy the key again")
        self._failed, self._useless = 0, 0  # requests in a row without a reply, and second tries without an answer
        self._answered, self._lock = False, threading.RLock()  # whether a request got a reply
        self._promised = []  # requests that a part of the budget is kept for
        self.model = model or self._ask_model_name(among)
        self.name = Path(self.model).name if self.model[:1] in "/.~" else self.model

    @property
    def gave_up(self):
        """Whether nothing more is sent, because FAILURES requests in a row got no reply or the connection failed."""
        return self._failed >= FAILURES

    def make_request(self, messages, **settings):
        """A chat request to this model: a JSON-able dict, without halves of characters, which cannot be sent."""
        request = json.dumps({"model": self.model, "messages": messages} | settings, ensure_ascii=False)
        return json.loads(request.encode("utf-8", "replace"))

    def stored_reply(self, request):
        """The stored text that answers this request, or None; a text that was cut off is no answer."""
        return _answer(self._read(request))

    def max_cost(self, request):
        """The most that a request can cost, in the currency of the prices; a token has at least one byte."""
        tokens = OVERHEAD + sum(len(m["content"].encode("utf-8", "replace")) + 8 for m in request["messages"])
        return (tokens * self.prices[0] + request.get("max_tokens", 0) * self.prices[1]) / 1e6

    def affords(self, requests):
        """Whether the budget is enough to send each of these requests once, and those that it was promised to."""
        with self._lock:
            requests = [*requests, *self._promised]
            cost = sum(map(self.max_cost, requests))
            return self.sent + len(requests) <= self.requests and self.spent + cost <= self.money + 1e-12

    def ask(self, request):
        """The text of the reply to a request, or None, as `fetch`; None also when it was cut off."""
        return _answer(self.fetch(request))

    def fetch(self, request, whole=True):
        """The reply to a request, stored or new: a dict with reply (text without reasoning), cut (off, or not) and usage.

        An empty reply and, if `whole`, one that was cut off is asked for once more with ROOM more tokens, a stored one too.
        `failures` counts those that stay so. None when it stays empty, the budget is used up, the request is refused or the
        server fails. Threads may call it at once. Raises RuntimeError for a wrong key, model or address (401, 403, 404).
        """
        found = self._read(request)
        if _answer(found, whole):
            with self._lock:
                self.replayed += 1
            return found
        found = found or self._try(request)
        if found and not _answer(found, whole):
            if self._useless < FAILURES:
                found = self._try(request, (request.get("max_tokens") or found["used"]) + ROOM) or found
            with self._lock:
                self._useless = 0 if _answer(found, whole) else self._useless + 1
                if self._useless:
                    self.last_error = f"{'cut off' if found['cut'] else 'empty'}, with room for {ROOM:,} tokens more"
                    self.failures[self.last_error.split(",")[0]] += 1
        return found if found and found["reply"] else None

    def _read(self, request):
        """The stored reply, without the reasoning in it; None when there is none. Old files lack `cut`."""
        stored = self.store.get(request) or {}
        if not isinstance(reply := stored.get("reply"), str):
            return None
        used = stored["usage"].get("out") if isinstance(stored.get("usage"), dict) else None
        cut = stored.get("cut", isinstance(used, int) and used >= request.get("max_tokens", used + 1))
        return stored | {"reply": REASONING.sub("", reply).strip(), "cut": cut, "used": used or len(reply)}

    def _try(self, request, most=0):
        """Send a request, for at most `most` tokens, and store its reply; returns it as `_read`, or None."""
        sent = request | ({"max_tokens": most} if most else {})
        errors, attempt, wait, tries = [], 0, 0, 1 if most else self.tries
        while wait is not None and attempt < tries and not self.gave_up and (cost := self._book(request, sent)) is not None:
            settings = {k: v for k, v in sent.items() if k not in ("model", "messages", *self.unsupported)}
            try:
                found = self._send(sent, settings, cost)
            except ERRORS as error:
                wait = self._note_failure(error, settings, cost, 2.0**attempt, errors)
            else:
                self._failed, self._answered = 0, True
                self.store.put(request, **found, server=self.url, unsupported=list(self.unsupported), errors=errors)
                return self._read(request)
            attempt += wait != 0  # a request without the refused setting is not a second try
            if attempt < tries and wait:
                self.pause(wait)
        if errors:  # stored for the record; the next run asks again
            if errors[-1].startswith("no connection"):
                self._failed = FAILURES
            elif wait is not None or not (self._answered or self.replayed):  # otherwise only this request was refused
                self._failed += 1
            if not self._read(request):
                self.store.put(request, reply=None, errors=errors)
        return None

    def _book(self, request, sent):
        """Subtract one request, as it is `sent`, and its highest cost from the budget; None when less is left."""
        with self._lock:
            if request in self._promised:
                self._promised.remove(request)
            if not self.affords([sent]):
                self.failures["budget used up"] += 1
                return None
            self.sent += 1
            self.spent += self.max_cost(sent)
            return self.max_cost(sent)

    def _send(self, request, settings, cost):
        if "max_tokens" in request and "max_tokens" not in settings:
            settings = settings | {"max_completion_tokens": request["max_tokens"]}  # the newer name of max_tokens
        asked = {"model": request["model"], "messages": request["messages"], "extra_body": settings}
        reply = self._call(lambda client: client.chat.completions.create(**asked))
        choice = (getattr(reply, "choices", None) or [None])[0]
        if not getattr(choice, "message", None):  # an error, a page, or an event stream
            raise ValueError(f"expected a completion with choices, found {getattr(reply, 'to_dict', lambda: reply)()}")
        text = choice.message.content or getattr(choice.message, "refusal", None) or ""  # without one it has only reasoned
        parts = text if isinstance(text, list) else [{"text": text}]
        text = "".join(part["text"] for part in parts if part.get("type", "text") in ("text", "output_text"))
        used = [getattr(reply.usage, f"{name}_tokens", None) for name in ("prompt", "completion")]
        used = {k: n if type(n) is int and 0 <= n < 1e9 else None for k, n in zip(("in", "out"), used, strict=True)}
        if None not in used.values():
            with self._lock:
                self.spent += (used["in"] * self.prices[0] + used["out"] * self.prices[1]) / 1e6 - cost
        cut = str(choice.finish_reason or "").lower() not in TOLD["whole"]
        return {"reply": self._scrub(text), "cut": cut, "usage": used}

    def _scrub(self, text):
        """A server's text without the key, in any usual spelling, and without halves of characters."""
        text, key = text.encode("utf-8", "replace").decode(), self._key
        coded = base64.b64encode(key.encode()).decode().rstrip("=")
        for word in (key, key.replace("/", "\\/"), urllib.parse.quote(key, ""), html.escape(key), coded):
            text = text.replace(word, "(key)") if len(key) > 5 else text  # "none", for local servers, is no key
        return text

    def _note_failure(self, error, settings, cost, wait, errors):
        """Record an error; return the seconds to wait before the next try, 0 after a refused setting, None to stop."""
        status, body = getattr(error, "status_code", None), getattr(error, "body", None) or getattr(error, "doc", None)
        text, body = str(error) or f"no whole reply in {self.timeout:g} s", str(body or error.__cause__ or "")[:5000]
        text = text if body in text else f"{text} {body}"  # the client's message lacks a part of the server's
        words = " ".join(self._scrub(text).split())[:300]
        kinds = {openai.APIConnectionError: "no connection", openai.APITimeoutError: "timeout", TimeoutError: "timeout"}
        kind = f"HTTP {status}" if status else kinds.get(type(error), "unreadable reply")
        errors.append(f"{kind}: {words}")
        refused = [n for n in TOLD["optional"] if n in settings and n in text] if status in (400, 422) else []
        # not the setting, but its value; a server may also repeat the request, with any word in it
        refused = [] if re.search("too large|too long|context (length|size|window)", text) else refused
        with self._lock:
            self.failures[kind] += 1
            self.spent -= cost if status or kind == "no connection" else 0  # no reply was written: nothing is charged
            self.last_error = errors[-1]
            self.unsupported += [name for name in refused if name not in self.unsupported]
        if status in (401, 403, 404, 405):
            self._failed = FAILURES  # requests of other threads stop too
            words += "; expected the address up to /v1, and a model that is served there" if status > 403 else ""
            raise RuntimeError(f"{self.called}: {self.url} answers {status} for {self.model}: {words}") from None
        if refused or (status and status < 500 and status not in (408, 409, 429)):  # as it is, it would be refused again
            return 0 if refused else None
        try:
            return min(60.0, max(0.5, urllib3.Retry().parse_retry_after(error.response.headers["retry-after"])))
        except (AttributeError, KeyError, urllib3.exceptions.InvalidHeader):
            return wait

    def _call(self, method):
        """What `method`, given an asynchronous client, returns; TimeoutError after `timeout` seconds."""

        async def call():
            asked = {"event_hooks": {"response": [_read_body]}, "headers": {"Accept-Encoding": "identity"}, "verify": TLS()}
            asked |= {"trust_env": urllib.parse.urlsplit(self.url).hostname not in TOLD["here"]}
            settings = {"timeout": self.timeout, "max_retries": 0, "http_client": openai.DefaultAsyncHttpxClient(**asked)}
            address, _, query = self.url.partition("?")
            make, query = openai.AsyncOpenAI, dict(urllib.parse.parse_qsl(query))
            if version := query.pop("api-version", ""):  # Azure's
                make = functools.partial(openai.AsyncAzureOpenAI, api_version=version)
            settings |= {"base_url": address.rstrip("/").removesuffix("/chat/completions"), "default_query": query}
            with anyio.fail_after(self.timeout):  # the client's own limit begins anew with every byte
                async with make(api_key=self._key or "none", **settings) as client:
                    return await method(client)

        with anyio.from_thread.start_blocking_portal() as portal:  # a notebook's thread has a running event loop
            return portal.call(call)

    def _ask_model_name(self, among):
        question, self.sent, why = {"server": self.url}, 1, ""
        dot = {"messages": [{"role": "user", "content": "."}], "extra_body": {"max_tokens": 1}}
        try:  # a server of one model accepts a request without a model's name, and names the model in its reply
            served = [self._call(lambda client: client.chat.completions.create(model=None, **dot)).model.strip()]
            if served == ["gpt-3.5-turbo"]:  # so llama.cpp calls any model
                raise LookupError
        except ERRORS:
            try:
                served = [model.id for model in self._call(lambda client: client.models.list()).data]
            except ERRORS as error:
                served, why = [self.stored_reply(question)], f" ({self._scrub(f'{error} {error.__cause__ or str()}')[:200]})"
        served = [self._scrub(name) for name in served if isinstance(name, str) and name]
        served = [among] if among in served else served
        if len(served) != 1:
            there = ", ".join(served)[:300] or f"not known; is the server there?{why}"
            raise RuntimeError(f"{self.called}: name the model to ask {self.url} for; what it serves: {there}")
        name = served[0].removesuffix("@main")  # `transformers serve` adds the revision, but refuses a name that has it
        self.store.put(question, reply=name)
        return name


def _answer(found, whole=True):
    return (found["reply"] or None) if found and not (whole and found["cut"]) else None


async def _read_body(reply):
    """Read the body of a reply before the client does; ValueError when it is too large, or compressed unasked."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("the reply is compressed, which was not asked for")
    body = bytearray()
    async for part in reply.stream:
        body += part
        if len(body) > LARGEST:
            raise ValueError(f"the reply is longer than {LARGEST:,} bytes")
    await reply.stream.aclose()
    reply.stream = httpx2.ByteStream(bytes(body))
