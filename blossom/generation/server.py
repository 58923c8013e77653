"""Any OpenAI-compatible server, asked with care: a hard budget, retries, and every request kept with its reply.

Kept replies are replayed, so a second run needs neither server nor key. A setting that a server refuses by name (`top_k`
is none of OpenAI's) is left out from then on and listed in `refused`.
"""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from blossom.generation.kept import Kept

MAY_GO = ("top_k", "repetition_penalty", "seed", "top_p", "temperature", "max_tokens")  # settings a server may not know
OVERHEAD = 64  # tokens of a chat template around the messages, at most


class Server:
    """One model on one server.

    url       up to `/v1`;  model  the name its server knows it by; empty asks the server
    folder    keeps every request with its reply
    requests  most HTTP requests to send, retries included
    money     most to spend; prices  (of a million tokens in, of a million out), in the same currency; (0, 0): free
    timeout   seconds for one reply;  tries  requests for one reply before it is given up
    called    the parameters that an error names
    sent, replayed, spent, failures, told, refused   requests sent, replies taken from `folder`, money, how often what went
              wrong, the last refusal's words, settings that the server does not take

    The key is read from OPENAI_API_KEY; a local server takes any. Money is counted before it is spent: a request is sent
    only if the most that it can cost is left (a token has at least one byte), and set right by the usage that is replied.
    """

    def __init__(
        self, url, model, folder, requests=200, money=0.0, prices=(0.0, 0.0), timeout=120.0, tries=3, pause=time.sleep,
        called="judge_url, judge_model",
    ):  # fmt: skip
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{called}: expected http://… or https://…, found {url!r}")
        self.url, self.keep, self.requests, self.money, self.prices = url, Kept(folder), requests, money, prices
        self.timeout, self.tries, self.pause, self.called = timeout, tries, pause, called
        self.sent, self.replayed, self.spent, self.failures = 0, 0, 0.0, Counter()
        self.told, self.refused = "", []
        self._in_a_row, self._lock, self._client = 0, threading.Lock(), None
        self.model = model or self._own_name()

    @property
    def name(self):
        """The model's name as people read it: of a folder, its last part."""
        return self.model.rstrip("/\\").replace("\\", "/").split("/")[-1] if self.model[:1] in "/.~" else self.model

    @property
    def gone(self):
        """Has the server failed three questions in a row? Then no more are sent."""
        return self._in_a_row >= 3

    def body(self, messages, **settings):
        """A request of this model: a JSON-able dict."""
        return {"model": self.model, "messages": messages} | settings

    def kept(self, body):
        """The reply kept from an earlier run to this request; None when there is none."""
        return (self.keep.get(body) or {}).get("reply")

    def ask(self, body):
        """The text that the server replies to this request; None when none is to be had."""
        reply = self.kept(body)
        if reply is not None:
            with self._lock:
                self.replayed += 1
            return reply
        return None if self.gone else self._send(body)

    def most(self, body):
        """The most that a request can cost, in the prices' currency."""
        tokens = OVERHEAD + sum(len(m["content"].encode("utf-8", "replace")) + 8 for m in body["messages"])
        return (tokens * self.prices[0] + body.get("max_tokens", 0) * self.prices[1]) / 1e6

    def affords(self, bodies):
        """Does what is left of the budget hold all these requests, each sent once?"""
        with self._lock:
            return self._fits(len(bodies), sum(map(self.most, bodies)))

    def _fits(self, requests, cost):
        return self.sent + requests <= self.requests and self.spent + cost <= self.money + 1e-12

    def _send(self, body):
        wrong, attempt = [], 0
        while attempt < self.tries:
            most = self._take(body)
            if most is None:
                break
            answered, wait = self._try(body, most, wrong, 2.0**attempt)
            if answered is not None:
                self._in_a_row = 0
                self.keep.put(body, reply=answered[0], usage=answered[1], left_out=list(self.refused), before=wrong)
                return answered[0]
            if wait is None:
                break
            attempt += wait != 0  # a request without a setting that was refused is no second try
            if attempt < self.tries and wait:
                self.pause(wait)
        if wrong:  # kept for the record; without a reply it is asked again
            self._in_a_row += 1
            self.keep.put(body, reply=None, before=wrong)
        return None

    def _take(self, body):
        """Count one request and the most it can cost; None when the budget does not hold it."""
        with self._lock:
            most = self.most(body)
            if not self._fits(1, most):
                self.failures["budget used up"] += 1
                return None
            self.sent, self.spent = self.sent + 1, self.spent + most
            return most

    def _try(self, body, most, wrong, wait):
        """One HTTP request: ((text, usage), 0), or (None, seconds to wait before another; None: no other)."""
        import openai

        def failed(what, error, back=0.0):
            with self._lock:
                self.failures[what] += 1
                self.spent -= back
                self.told = f"{what}: {_said(error)[:200]}"
            wrong.append(self.told)

        words = self._as_taken(body)
        try:
            reply = self._connected().chat.completions.create(**words)
            text, usage = reply.choices[0].message.content, reply.usage
            if not isinstance(text, str):
                raise TypeError("no text in the reply")
        except openai.APITimeoutError as error:
            failed("timeout", error)
        except openai.APIConnectionError as error:
            failed("no connection", error, most)
        except openai.APIStatusError as error:
            failed(f"HTTP {error.status_code}", error, most)
            return None, self._after(error, words["extra_body"], wait)
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, IndexError) as error:
            failed("unreadable reply", error)
        else:
            used = {"in": getattr(usage, "prompt_tokens", None), "out": getattr(usage, "completion_tokens", None)}
            if None not in used.values():
                with self._lock:
                    self.spent += (used["in"] * self.prices[0] + used["out"] * self.prices[1]) / 1e6 - most
            return (text, used), 0
        return None, wait

    def _after(self, error, settings, wait):
        """Seconds to wait after a refusal; 0 to ask at once without what was refused; None to give the question up."""
        if error.status_code in (401, 403, 404):
            self._in_a_row = 3  # those asked beside this one are not sent either
            told = f"{self.url} answers {error.status_code} for {self.model}: {_said(error)[:200]}"
            raise RuntimeError(f"{self.called}: {told}") from None
        if error.status_code in (400, 422):
            named = [name for name in MAY_GO if name in settings and name in _said(error)]
            with self._lock:
                self.refused += [name for name in named if name not in self.refused]
            return 0 if named else None
        if error.status_code < 500 and error.status_code not in (408, 409, 429):
            return None  # asking again would be refused again
        return _asked_to_wait(error.response.headers.get("retry-after"), wait)

    def _as_taken(self, body):
        """The words of `chat.completions.create`, without what this server refuses."""
        rest = {k: v for k, v in body.items() if k not in ("model", "messages", *self.refused)}
        if "max_tokens" in self.refused and "max_tokens" in body:
            rest["max_completion_tokens"] = body["max_tokens"]  # the name that newer servers want
        return {"model": body["model"], "messages": body["messages"], "extra_body": rest}

    def _connected(self):
        import openai

        with self._lock:
            if self._client is None:
                key = os.environ.get("OPENAI_API_KEY") or "none"
                self._client = openai.OpenAI(base_url=self.url, api_key=key, timeout=self.timeout, max_retries=0)
            return self._client

    def _own_name(self):
        """What the server calls the model it serves: asked, and kept for a run without the server."""
        import openai

        question = {"server": self.url}
        client, listed, self.sent = self._connected(), [], 1
        try:  # a server of one model takes a request that names none, and says which one replied
            asked = client.chat.completions.create(
                model=None, messages=[{"role": "user", "content": "."}], extra_body={"max_tokens": 1}
            )
            listed = [asked.model] if isinstance(asked.model, str) and asked.model else []
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            pass
        try:
            listed = listed or [m.id for m in client.models.list()]
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            listed = [(self.keep.get(question) or {}).get("reply")]
        if len(listed) != 1 or not listed[0]:
            there = ", ".join(map(str, listed))[:300] if len(listed) > 1 else "not known; is the server there?"
            raise RuntimeError(f"{self.called}: name the model to ask {self.url} for; what it serves: {there}")
        name = listed[0].removesuffix("@main")  # `transformers serve` adds the revision, and refuses the name with it
        self.keep.put(question, reply=name)
        return name


def _said(error):
    """An error's words, and those of the server's reply where the client left them out."""
    body = getattr(error, "body", None)
    return f"{error} {body}" if body and str(body) not in str(error) else str(error)


def _asked_to_wait(header, otherwise):
    """Seconds of a Retry-After header, at most a minute."""
    try:
        return min(60.0, max(0.5, float(header)))
    except (TypeError, ValueError):
        return otherwise


def addresses(served, names):
    """{name: url} of entries "name@url"; ValueError for one that is not of this form or names no model of the run."""
    found = {}
    for entry in served:
        name, _, url = entry.rpartition("@")
        if name not in names or not url.startswith(("http://", "https://")):
            raise ValueError(f"served: expected name@http://…, a name of {', '.join(names)}; found {entry!r}")
        found[name] = url
    return found


def served_answers(
    server, prompts, new_tokens=48, temperature=0.2, top_p=0.9, top_k=40, repetition_penalty=1.1, seed=0, parallel=8
):
    """One answer of a server's model to each prompt, in its own chat template: list of str, without surrounding space.

    parallel  requests under way at once: a server batches them itself
    The other settings are `answer`'s; `server.refused` lists those that the server did not take. Raises RuntimeError when
    a prompt gets no answer; those that did are kept, so that another run asks only for the rest.
    """
    settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "repetition_penalty": repetition_penalty}
    settings |= {"max_tokens": new_tokens, "seed": seed}
    bodies = [server.body([{"role": "user", "content": prompt}], **settings) for prompt in prompts]
    texts = [server.ask(body) for body in bodies[:1]]  # alone: it finds out which settings the server takes
    with ThreadPoolExecutor(parallel) as pool:
        texts += pool.map(server.ask, bodies[1:])
    missing = [n for n, text in enumerate(texts) if text is None]
    if missing:
        why = server.told or "the budget is used up"
        raise RuntimeError(f"{server.called}: {server.url} gave no answer to {len(missing)} prompts ({why})")
    return [text.strip() for text in texts]
