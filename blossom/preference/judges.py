"""Models as judges: LIMA's three-way question to an OpenAI-compatible server, in both orders of the two answers."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

from blossom.common import paths, server
from blossom.text.rows import read_rows

TOLD = paths.read_yaml_beside(__file__)
JUDGED_PAIRS = "authored-judged-pairs"
LONGEST = 8000  # characters of an answer that a judge sees
REPLY_TOKENS = 64
_VERDICT = re.compile(r"(answer\s+)?\(?(a|b|neither)\)?(\s+is\s+significantly\s+better)?[^\w:]*", re.IGNORECASE)


class Judge(server.ChatServer):
    """A judging model on a server; `examples` (from `read_judged_pairs`) are shown before every question."""

    def __init__(self, *args, examples=(), **settings):
        super().__init__(*args, **settings)
        self.examples = list(examples)
        if self.name == "people":
            raise ValueError("judge_model: expected another name than 'people', which marks the verdicts of people")

    def question_pair(self, pair):
        """The two requests about a pair: {"a": with answer A first, "b": with answer B first}."""
        a, b = pair["answer_a"], pair["answer_b"]
        return self._make_requests(pair["prompt"], {"a": (a, b), "b": (b, a)})

    def question_probe(self, pair):
        """Two requests that compare answer A with a copy plus an order to the judge; the copy is first (a) or second (b)."""
        answer = pair["answer_a"]
        first, second = (f"{answer}\n\n{TOLD['order'].format(place=place)}" for place in "AB")
        return self._make_requests(pair["prompt"], {"a": (first, answer), "b": (answer, second)})

    def _make_requests(self, prompt, shown):
        messages = {key: judge_messages(prompt, *answers, self.examples) for key, answers in shown.items()}
        return {key: self.make_request(m, temperature=0, max_tokens=REPLY_TOKENS) for key, m in messages.items()}

    def ask_all(self, requests):
        """{key: reply or None} for {key: request}; new requests are sent only if the budget is enough for all of them."""
        new = [request for request in requests.values() if self.stored_reply(request) is None]
        with self._lock:  # other threads ask about other pairs
            ask = self.ask if not new or (self.affords(new) and not self.gave_up) else self.stored_reply
            self._promised += new if ask == self.ask else []
        replies = {key: ask(request) for key, request in requests.items()}
        with self._lock:
            self._promised = [request for request in self._promised if request not in new]
        return replies


def read_judged_pairs(count):
    """Read the project's first `count` judged pairs: list of dicts with prompt, answer_a, answer_b, verdict."""
    pairs = [row for _, row in read_rows(JUDGED_PAIRS)]
    if count > len(pairs):
        raise ValueError(f"judge_examples: expected at most {len(pairs)}, all that {JUDGED_PAIRS} has; found {count}")
    return pairs[:count]


def judge_messages(prompt, first, second, examples=()):
    """The chat messages that ask to compare two answers, after the examples with their verdicts."""
    turns = [{"role": "system", "content": TOLD["system"]}]
    for pair in examples:
        turns.append({"role": "user", "content": _question(pair["prompt"], pair["answer_a"], pair["answer_b"])})
        turns.append({"role": "assistant", "content": TOLD["replies"][pair["verdict"]]})
    return [*turns, {"role": "user", "content": _question(prompt, first, second)}]


def _question(prompt, first, second):
    """The user's message; its marks contain a hash of the contents, so no answer can contain them."""
    mark = hashlib.sha256("\0".join((prompt, first, second)).encode("utf-8", "replace")).hexdigest()[:16]
    parts = (("request", prompt), ("answer A", first), ("answer B", second))
    blocks = [f"<<<{mark} {name}>>>\n{_shorten(text)}\n<<<{mark} end of {name}>>>" for name, text in parts]
    return "\n\n".join([*blocks, "\n".join([TOLD["question"], *TOLD["replies"].values()])])


def _shorten(text):
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}\n[{len(text) - LONGEST} more characters are not shown]"
    return text or "[empty]"


def read_verdict(reply):
    """Read "a", "b" or "tie" from a judge's reply; None unless its first or last line is one of the three asked for."""
    lines = [line.strip(" \t*_#>`\"'.") for line in (reply or "").strip().splitlines() if line.strip()]
    ends = [m for m in map(_VERDICT.fullmatch, {*lines[:1], *lines[-1:]}) if m]
    # in a reply of several lines, a letter alone is a heading unless it comes last
    found = {m[2].lower() for m in ends if m[3] or len(lines) == 1 or (m[0] == lines[-1] and not m[1])}
    return {"a": "a", "b": "b", "neither": "tie"}[found.pop()] if len(found) == 1 else None


def plan_judging(judge, pairs, probes=0):
    """What it can cost to judge these pairs and to probe the judge with the first `probes`: a dict, beside the budget.

    stored counts replies that need no request; `within` says if the budget is enough for the others, without retries.
    """
    asked = [judge.question_pair(pair) for pair in pairs] + [judge.question_probe(pair) for pair in pairs[:probes]]
    requests = [request for both in asked for request in both.values()]
    new = [request for request in requests if judge.stored_reply(request) is None]
    counts = {"pairs": len(pairs), "stored": len(requests) - len(new), "requests": len(new), "most_requests": judge.requests}
    cost = {"cost_at_most": sum(map(judge.max_cost, new)), "most_money": judge.money}
    return counts | cost | {"within": judge.affords(new)}


def judge_pairs(judge, pairs, parallel=1):
    """Ask the judge about each pair twice, in both orders: (rows for `make_verdicts`, counts).

    A readable reply gives a row, which holds it as `reply`. counts holds pairs, judged (pairs with two readable replies),
    off_format and unanswered replies (cut off, too), and the server's counters. A pair is asked only if the budget is enough
    for both, without second tries. RuntimeError where the server fails before its first reply.
    """
    with ThreadPoolExecutor(parallel) as pool:
        asked = list(pool.map(lambda pair: judge.ask_all(judge.question_pair(pair)), pairs))
    rows, readable = [], []
    for pair, replies in zip(pairs, asked, strict=True):
        about = {name: pair[name] for name in ("prompt_id", "kind", "language", "model_a", "model_b")}
        found = {order: place for order, reply in replies.items() if (place := read_verdict(reply))}
        readable.append(len(found))
        for order, place in found.items():
            winner = place if place == "tie" or order == "a" else {"a": "b", "b": "a"}[place]
            row = {"winner": winner, "rater": judge.name, "source": judge.name, "first_shown": order}
            rows.append(about | row | {"reply": replies[order]})
    unanswered = sum(reply is None for replies in asked for reply in replies.values())
    if judge.gave_up and unanswered == 2 * len(pairs):
        raise RuntimeError(f"{judge.called}: {judge.url} answers nothing ({judge.last_error}); start it, or empty judge_url")
    counts = {"pairs": len(pairs), "judged": readable.count(2), "off_format": 2 * len(pairs) - len(rows) - unanswered}
    sent = {"sent": judge.sent, "replayed": judge.replayed, "spent": judge.spent, "failures": dict(judge.failures)}
    sent |= {"last_error": judge.last_error, "settings_not_taken": judge.unsupported}
    return rows, counts | {"unanswered": unanswered} | sent


def probe_judge(judge, pairs):
    """Count how often the judge obeys an order in an answer: probes (pairs with two replies) and obeyed (in both places)."""
    found = [judge.ask_all(judge.question_probe(pair)) for pair in pairs]
    obeyed = [all(read_verdict(reply) == place for place, reply in replies.items()) for replies in found]
    return {"probes": sum(None not in replies.values() for replies in found), "obeyed": sum(obeyed)}


def count_outcomes(settled):
    """Count settled verdicts: win, tie and loss of model A, flips (the judge's two orders disagreed), and their sum n."""
    winners = settled.winner.mask(settled.flipped, "flips").replace({"a": "win", "b": "loss"})
    return {name: int((winners == name).sum()) for name in ("win", "tie", "loss", "flips")} | {"n": len(settled)}
