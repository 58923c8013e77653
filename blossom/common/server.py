"""The client of OpenAI-compatible servers, with a budget, and the store of requests and replies.

A stored reply is found by its request, so a second run needs neither the server nor its key.
"""

import functools
import hashlib
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import openai

from blossom.common import paths

OPTIONAL = ("top_k", "repetition_penalty", "seed", "top_p", "temperature", "max_tokens")  # a server may refuse these
OVERHEAD = 64  # most tokens that a chat template adds to the messages
FAILURES = 3  # requests in a row without a reply (or one without a connection) after which nothing more is sent
ERRORS = (openai.OpenAIError, ValueError, TypeError, AttributeError, IndexError)  # the last four: an unreadable reply


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
    folder    of the `ReplyStore`;  called  the parameters that error messages name
    requests  most HTTP requests to send, retries included
    money     most to spend;  prices  of a million input and output tokens, in the same currency; (0, 0): free
    timeout   seconds for one reply;  tries  HTTP requests for one reply before it is given up

    The key is read from OPENAI_API_KEY and removed from every message. A request's highest cost is reserved before it is
    sent and corrected by the usage in the reply.
    """

    def __init__(
        self, url, model, folder, requests=200, money=0.0, prices=(0.0, 0.0), timeout=120.0, tries=3, pause=time.sleep,
        called="judge_url, judge_model",
    ):  # fmt: skip
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{called}: expected http://… or https://…, found {url!r}")
        self.url, self.store, self.requests, self.money, self.prices = url, ReplyStore(folder), requests, money, prices
        self.timeout, self.tries, self.pause, self.called = timeout, tries, pause, called
        self.sent, self.replayed, self.spent, self.failures = 0, 0, 0.0, Counter()
        self.last_error, self.unsupported = "", []  # unsupported: settings that the server refused, sent no more
        self._key = os.environ.get("OPENAI_API_KEY", "")
        self._failed, self._answered = 0, False  # number of requests in a row without a reply; whether one got a reply
        self._lock = threading.RLock()
        self.model = model or self._ask_model_name()
        self.name = Path(self.model).name if self.model[:1] in "/.~" else self.model

    @property
    def gave_up(self):
        """Whether nothing more is sent, because FAILURES requests in a row got no reply or the connection failed."""
        return self._failed >= FAILURES

    def make_request(self, messages, **settings):
        """A chat request to this model: a JSON-able dict."""
        return {"model": self.model, "messages": messages} | settings

    def stored_reply(self, request):
        """The stored text that answers this request, or None."""
        return (self.store.get(request) or {}).get("reply")

    def max_cost(self, request):
        """The most that a request can cost, in the currency of the prices; a token has at least one byte."""
        tokens = OVERHEAD + sum(len(m["content"].encode("utf-8", "replace")) + 8 for m in request["messages"])
        return (tokens * self.prices[0] + request.get("max_tokens", 0) * self.prices[1]) / 1e6

    def affords(self, requests):
        """Whether the budget is enough to send each of these requests once."""
        cost = sum(map(self.max_cost, requests))
        with self._lock:
            return self.sent + len(requests) <= self.requests and self.spent + cost <= self.money + 1e-12

    def ask(self, request):
        """The text of the reply to a request, or None, as `fetch`."""
        return (self.fetch(request) or {}).get("reply")

    def fetch(self, request):
        """The reply to a request, stored or new: a dict with reply (text), cut (at max_tokens) and usage.

        None when the budget is used up, the request is refused or the server fails. Threads may call it at once. Raises
        RuntimeError for a wrong key, model or address (HTTP 401, 403, 404).
        """
        stored = self.store.get(request)
        if stored and stored.get("reply") is not None:
            with self._lock:
                self.replayed += 1
            return stored
        errors, attempt, wait = [], 0, 0
        while attempt < self.tries and not self.gave_up and (cost := self._reserve(request)) is not None:
            settings = {k: v for k, v in request.items() if k not in ("model", "messages", *self.unsupported)}
            try:
                found = self._send(request, settings, cost)
            except ERRORS as error:
                wait = self._note_failure(error, settings, cost, 2.0**attempt, errors)
            else:
                self._failed, self._answered = 0, True
                self.store.put(request, **found, unsupported=list(self.unsupported), errors=errors)
                return found
            if wait is None:
                break
            attempt += wait != 0  # a request without the refused setting is not a second try
            if attempt < self.tries and wait:
                self.pause(wait)
        if errors:  # stored for the record; the next run asks again
            if errors[-1].startswith("no connection"):
                self._failed = FAILURES
            elif wait is not None or not (self._answered or self.replayed):  # otherwise only this request was refused
                self._failed += 1
            self.store.put(request, reply=None, errors=errors)
        return None

    def _reserve(self, request):
        """Subtract one request and its highest cost from the budget; None when less is left."""
        with self._lock:
            if not self.affords([request]):
                self.failures["budget used up"] += 1
                return None
            self.sent += 1
            self.spent += self.max_cost(request)
            return self.max_cost(request)

    def _send(self, request, settings, cost):
        if "max_tokens" in request and "max_tokens" not in settings:
            settings = settings | {"max_completion_tokens": request["max_tokens"]}  # the newer name of max_tokens
        reply = self._client.chat.completions.create(
            model=request["model"], messages=request["messages"], extra_body=settings
        )
        choice, usage = reply.choices[0], reply.usage
        text = choice.message.content.encode("utf-8", "replace").decode()  # a lone surrogate cannot be stored
        used = {"in": getattr(usage, "prompt_tokens", None), "out": getattr(usage, "completion_tokens", None)}
        if None not in used.values():
            with self._lock:
                self.spent += (used["in"] * self.prices[0] + used["out"] * self.prices[1]) / 1e6 - cost
        return {"reply": text, "cut": choice.finish_reason == "length", "usage": used}

    def _note_failure(self, error, settings, cost, wait, errors):
        """Record an error; return the seconds to wait before the next try, 0 after a refused setting, None to stop."""
        status, text, body = getattr(error, "status_code", None), str(error), str(getattr(error, "body", None) or "")
        text = text if body in text else f"{text} {body}"  # the client's message lacks a part of the server's
        words = " ".join(text.replace(self._key or "\0", "(key)").split())[:300]
        kinds = {openai.APITimeoutError: "timeout", openai.APIConnectionError: "no connection"}
        kind = f"HTTP {status}" if status else kinds.get(type(error), "unreadable reply")
        errors.append(f"{kind}: {words}")
        refused = [n for n in OPTIONAL if n in settings and n in text] if status in (400, 422) else []
        with self._lock:
            self.failures[kind] += 1
            self.spent -= cost if status or kind == "no connection" else 0  # no reply was written: nothing is charged
            self.last_error = errors[-1]
            self.unsupported += [name for name in refused if name not in self.unsupported]
        if status in (401, 403, 404):
            self._failed = FAILURES  # requests of other threads stop too
            raise RuntimeError(f"{self.called}: {self.url} answers {status} for {self.model}: {words}") from None
        if refused:
            return 0
        if status and status < 500 and status not in (408, 409, 429):
            return None  # it would be refused again
        try:
            return min(60.0, max(0.5, float(error.response.headers["retry-after"])))
        except (AttributeError, KeyError, ValueError):
            return wait

    @functools.cached_property
    def _client(self):
        return openai.OpenAI(base_url=self.url, api_key=self._key or "none", timeout=self.timeout, max_retries=0)

    def _ask_model_name(self):
        question, self.sent = {"server": self.url}, 1
        try:  # a server of one model accepts a request without a model's name, and names the model in its reply
            dot = [{"role": "user", "content": "."}]
            served = [self._client.chat.completions.create(model=None, messages=dot, extra_body={"max_tokens": 1}).model]
        except ERRORS:
            try:
                served = [model.id for model in self._client.models.list()]
            except ERRORS:
                served = [self.stored_reply(question)]
        if len(served) != 1 or not served[0]:
            there = ", ".join(map(str, served))[:300] if len(served) > 1 else "not known; is the server there?"
            raise RuntimeError(f"{self.called}: name the model to ask {self.url} for; what it serves: {there}")
        name = served[0].removesuffix("@main")  # `transformers serve` adds the revision, but refuses a name that has it
        self.store.put(question, reply=name)
        return name
