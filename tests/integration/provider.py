# SPDX-License-Identifier: MIT
"""A model provider for tests: speaks the documented streaming formats of OpenAI (/v1/chat/completions), Anthropic
(/v1/messages) and Ollama (/api/chat) and OpenAI's /v1/embeddings on one port, answers in the form that the prompt asks for, keeps a log of every
request, and misbehaves on command.

    with ProviderServer() as p:
        conf = {"providers": {"openai": {"base_url": p.openai_url, "api_key": "sk-test"}}}
        p.script(mode="rate", model="gpt-4o", times=2, retry_after=1)
        ...
        assert len(p.requests(phase="propose")) == 4

Modes: ok, delay, rate (429), 500, 529, auth (401), quota (403), filter, cut, garbage, silent, empty, drop, plain.
`delay` (seconds per chunk) and `first_delay` go with any mode; `after` is the number of chunks before a cut, garbage or
silence begins. `times` counts requests (-1: for ever); rules are tried in order, the first that fits is used.
refuse(seconds) closes the listening socket for a while; hold(n) lets every answer wait, from the n-th request counted
from now, until release().

Run alone: provider.py --port 9999 --log requests.jsonl
"""
import argparse
import asyncio
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time

from aiohttp import web

PORT_LINE = "provider listening on "
RULE_DEFAULTS = {"mode": "ok", "model": "", "wire": "", "phase": "", "contains": "", "times": -1, "delay": 0.0,
                 "first_delay": 0.0, "after": 3, "retry_after": None, "text": None, "usage": True}
MODES = {"ok", "delay", "rate", "500", "529", "auth", "quota", "bad", "filter", "cut", "garbage", "silent", "empty", "drop",
         "plain"}


# ---- what is said ----

def phase_of(system, prompt):
    """The kind of answer that the prompt asks for, by the capitalised labels that it names."""
    asked = re.sub(r"<<<material.*?<<<end [^>]*>>>", "", prompt, flags=re.S)
    if "ISSUES" in asked and "SUGGESTIONS" in asked:
        return "critique"
    if "WINNER" in asked:
        return "judge"
    if "CHOICE" in asked:
        return "vote"
    if "POSITION" in asked:
        return "revise" if re.search(r"critique", asked, re.I) else "propose"
    return "synthesis" if re.search(r"conclusion|synthes|final answer|decided|write", asked, re.I) else "propose"


def materials_of(prompt):
    """Named pieces of the prompt: [(name, text)]."""
    return re.findall(r"<<<material [^:>]*: ([^>]*)>>>\n(.*?)\n<<<end", prompt, re.S)


def topic_of(prompt):
    """A few words of the question, so that answers are about it."""
    text = dict(materials_of(prompt)).get("task", prompt)
    return " ".join(text.split())[:80].strip(" :<>*#-\"'") or "the question"


def choice_of(prompt):
    """The label of the proposal whose text sorts first by its hash: labels are shuffled, voters agree all the same."""
    texts = [(name, text) for name, text in materials_of(prompt) if re.fullmatch(r"P\d{1,2}", name)]
    if not texts:
        texts = [(label, "") for label in re.findall(r"\b(P\d{1,2})\b", prompt)] or [("P1", "")]
    return min(texts, key=lambda item: (hashlib.sha256(item[1].encode()).hexdigest(), item[0]))[0]


# Different enough that nobody takes them for one answer.
POSITIONS = (
    "Begin with a small, reversible step and measure it for two weeks.",
    "Wait until the cost of an error has been estimated by somebody who pays for it.",
    "Do all of it at once, because half of it would give the drawbacks without the gain.",
    "Ask the people concerned first; their answer decides more than any figure.",
    "Buy what exists instead of making anything, and look again next year.",
    "Leave things as they are: the present state is better than its reputation.",
    "Run both ways side by side and let the traffic choose between them.",
)


def answer(phase, model, prompt):
    topic = topic_of(prompt)
    h = int(hashlib.sha256(model.encode()).hexdigest(), 16)
    if phase == "critique":
        return (f"ISSUES:\n- The proposal gives no measure of success for {topic}.\n- The cost of being wrong is not "
                f"estimated.\nSUGGESTIONS:\n- Name one number to watch and a date to look at it.\n- Add a way back.\n"
                f"SEVERITY: {3 + h % 4}.5\nREASONING: The direction is sound, its risks are not priced ({model}).\n")
    if phase in ("vote", "judge"):
        key = "CHOICE" if phase == "vote" else "WINNER"
        tail = "" if phase == "vote" else f"UNRESOLVED: how fast to widen it\nANSWER: On {topic}: begin small.\n"
        return (f"{key}: {choice_of(prompt)}\nCONFIDENCE: 0.8{h % 10}\nCONTINUE: no\n"
                f"REASONING: It is the most concrete answer and says how to go back.\n{tail}")
    if phase == "synthesis":
        return (f"On {topic}: the agents prefer the answer that can be checked soonest.\n\nReasons: it is cheap, it can be "
                f"measured, and it can be undone.\n\nWhat stays open is how fast to widen it.")
    change = "Changed: a number to watch was added, because a critique asked for it.\n\n" if phase == "revise" else ""
    return (f"POSITION: {POSITIONS[h % len(POSITIONS)]}\n\nOn {topic}, as {model} sees it: the option that can be undone at "
            f"least cost deserves the first try. Agree on one number beforehand.\n\n{change}Known: the question. Assumed: "
            f"that nobody is in a hurry. Unknown: the size of the effect.\n\nCONFIDENCE: 0.7{h % 10}")


def chunks_of(text, size=24):
    return [text[i:i + size] for i in range(0, len(text), size)]


# ---- the three wire formats: request -> (model, system, prompt), pieces -> bytes ----

def sse(data, event=None):
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


class OpenAI:
    name = "openai"
    content_type = "text/event-stream"

    @staticmethod
    def read(body):
        by_role = {m["role"]: m["content"] for m in body["messages"]}
        return by_role.get("system", by_role.get("developer", "")), by_role["user"]

    @staticmethod
    def check(request, body):
        if "max_tokens" in body and re.match(r"(gpt-5|o[134])", body["model"]):
            return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        if "temperature" in body and re.match(r"(gpt-5|o[134])", body["model"]):
            return "Unsupported value: 'temperature' does not support this value with this model."
        return None

    @staticmethod
    def authorized(request):
        return request.headers.get("Authorization", "Bearer x").startswith("Bearer ")

    @staticmethod
    def chunk(model, **kw):
        base = {"id": "chatcmpl-test", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        base.update(kw)
        return base

    def begin(self, model, tokens_in):
        return [sse(self.chunk(model, choices=[{"index": 0, "delta": {"role": "assistant", "content": ""},
                                                "finish_reason": None}]))]

    def piece(self, model, text):
        return sse(self.chunk(model, choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}]))

    def end(self, model, tokens_in, tokens_out, usage, reason, body):
        out = [sse(self.chunk(model, choices=[{"index": 0, "delta": {}, "finish_reason":
                                               {"filter": "content_filter", "length": "length"}.get(reason, "stop")}]))]
        if usage and body.get("stream_options", {}).get("include_usage"):
            out.append(sse(self.chunk(model, choices=[], usage={
                "prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out})))
        return out + [b"data: [DONE]\n\n"]

    def plain(self, model, text, tokens_in, tokens_out):
        return {"id": "chatcmpl-test", "object": "chat.completion", "model": model, "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}}

    @staticmethod
    def error(kind, message):
        return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


class Anthropic:
    name = "anthropic"
    content_type = "text/event-stream; charset=utf-8"

    @staticmethod
    def read(body):
        content = body["messages"][-1]["content"]
        if not isinstance(content, str):
            content = "".join(part["text"] for part in content)
        return body.get("system", ""), content

    @staticmethod
    def check(request, body):
        if request.headers.get("anthropic-version") != "2023-06-01":
            return "anthropic-version: header is required"
        if not isinstance(body.get("max_tokens"), int):
            return "max_tokens: Field required"
        return None

    @staticmethod
    def authorized(request):
        return bool(request.headers.get("x-api-key"))

    def begin(self, model, tokens_in):
        return [sse({"type": "message_start", "message": {
            "id": "msg_test", "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": tokens_in, "output_tokens": 1}}},
            "message_start"),
            sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                "content_block_start"), sse({"type": "ping"}, "ping")]

    def piece(self, model, text):
        return sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
                   "content_block_delta")

    def end(self, model, tokens_in, tokens_out, usage, reason, body):
        delta = {"type": "message_delta", "delta": {
            "stop_reason": {"filter": "refusal", "length": "max_tokens"}.get(reason, "end_turn"), "stop_sequence": None}}
        if usage:
            delta["usage"] = {"output_tokens": tokens_out}
        return [sse({"type": "content_block_stop", "index": 0}, "content_block_stop"), sse(delta, "message_delta"),
                sse({"type": "message_stop"}, "message_stop")]

    def plain(self, model, text, tokens_in, tokens_out):
        return {"id": "msg_test", "type": "message", "role": "assistant", "model": model, "content": [
            {"type": "text", "text": text}], "stop_reason": "end_turn",
            "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out}}

    @staticmethod
    def error(kind, message):
        return {"type": "error", "error": {"type": kind, "message": message}}


class Ollama:
    name = "ollama"
    content_type = "application/x-ndjson"
    read = staticmethod(OpenAI.read)

    @staticmethod
    def check(request, body):
        return None

    @staticmethod
    def authorized(request):
        return True

    @staticmethod
    def line(model, text, done=False, **kw):
        data = {"model": model, "created_at": "2026-01-01T00:00:00.000000Z",
                "message": {"role": "assistant", "content": text}, "done": done}
        data.update(kw)
        return json.dumps(data).encode() + b"\n"

    def begin(self, model, tokens_in):
        return []

    def piece(self, model, text):
        return self.line(model, text)

    def end(self, model, tokens_in, tokens_out, usage, reason, body):
        kw = {"done_reason": "length" if reason == "length" else "stop", "total_duration": 1000000}
        if usage:
            kw.update(prompt_eval_count=tokens_in, eval_count=tokens_out)
        return [self.line(model, "", True, **kw)]

    def plain(self, model, text, tokens_in, tokens_out):
        return json.loads(self.line(model, text, True, prompt_eval_count=tokens_in, eval_count=tokens_out))

    @staticmethod
    def error(kind, message):
        return {"error": message}


STATUS_MODES = {
    "rate": (429, "rate_limit_error", "Rate limit reached, slow down"),
    "500": (500, "api_error", "The server had an error while processing your request"),
    "529": (529, "overloaded_error", "Overloaded"),
    "auth": (401, "authentication_error", "Incorrect API key provided"),
    "quota": (403, "insufficient_quota", "You exceeded your current quota, check your plan and billing details"),
    "bad": (400, "invalid_request_error", "Your input is refused"),
}


EMBED_DIM = 64


def embedding(text, dim=EMBED_DIM):
    """A bag of words: texts with the same words point the same way, those with none in common do not."""
    v = [0.0] * dim
    for word in re.findall(r"\w+", text.lower()):
        v[int(hashlib.sha256(word.encode()).hexdigest(), 16) % dim] += 1.0
    return v if any(v) else [1.0] + [0.0] * (dim - 1)


# ---- the server ----

class Provider:
    def __init__(self, log_path):
        self.rules = []
        self.count = 0
        self.log_file = open(log_path, "a", buffering=1) if log_path else None
        self.records = []
        self.site = self.runner = None
        self.port = 0
        self.hold_from = 0  # number of the first request that waits; 0: none does
        self.released = asyncio.Event()

    def record(self, **kw):
        kw["time"] = time.time()
        self.records.append(kw)
        if self.log_file:
            self.log_file.write(json.dumps(kw) + "\n")

    def rule_for(self, wire, model, phase, text):
        for rule in self.rules:
            if rule["times"] == 0 or (rule["model"] and rule["model"] != model) or \
                    (rule["wire"] and rule["wire"] != wire) or (rule["phase"] and rule["phase"] != phase) or \
                    rule["contains"] not in text:
                continue
            if rule["times"] > 0:
                rule["times"] -= 1
            return rule
        return RULE_DEFAULTS

    def handler(self, wire):
        async def handle(request):
            return await self.chat(request, wire)
        return handle

    async def chat(self, request, wire):
        body = await request.json()
        system, prompt = wire.read(body)
        model = body["model"]
        phase = phase_of(system, prompt)
        rule = self.rule_for(wire.name, model, phase, system + "\n" + prompt)
        self.count += 1
        number = self.count
        self.record(event="request", n=number, path=request.path, wire=wire.name, model=model, phase=phase,
                    mode=rule["mode"], idempotency_key=request.headers.get("Idempotency-Key", ""),
                    traceparent=request.headers.get("traceparent", ""),
                    prompt_hash=hashlib.sha256((system + "\0" + prompt).encode()).hexdigest(),
                    stream=body.get("stream"), system=system, prompt=prompt,
                    headers={k: request.headers.get(k) for k in ("Authorization", "X-Title")},
                    parameters={k: v for k, v in body.items() if k not in ("messages", "system")})
        status, complete = 0, False
        try:
            if 0 < self.hold_from <= number:
                await self.released.wait()
            status, complete, response = await self.respond(request, wire, body, system, prompt, model, phase, rule)
            return response
        finally:
            self.record(event="end", n=number, status=status, complete=complete)

    async def respond(self, request, wire, body, system, prompt, model, phase, rule):
        mode = rule["mode"]
        if not wire.authorized(request):
            return 401, True, web.json_response(wire.error("authentication_error", "no key"), status=401)
        problem = wire.check(request, body)
        if problem:
            return 400, True, web.json_response(wire.error("invalid_request_error", problem), status=400)
        if rule["first_delay"]:
            await asyncio.sleep(rule["first_delay"])
        if mode in STATUS_MODES:
            status, kind, message = STATUS_MODES[mode]
            headers = {} if rule["retry_after"] is None else {"Retry-After": str(rule["retry_after"])}
            return status, True, web.json_response(wire.error(kind, message), status=status, headers=headers)
        if mode == "drop":
            request.transport.abort()
            return 0, False, web.Response()
        text = "" if mode in ("empty", "filter") else rule["text"] or answer(phase, model, prompt)
        tokens_in, tokens_out = (len(system) + len(prompt)) // 4, (len(text) + 3) // 4
        if mode == "plain" or not body.get("stream", wire.name == "ollama"):
            return 200, True, web.json_response(wire.plain(model, text, tokens_in, tokens_out))
        response = web.StreamResponse(headers={"Content-Type": wire.content_type})
        await response.prepare(request)
        end = wire.end(model, tokens_in, tokens_out, rule["usage"], mode, body)
        frames = wire.begin(model, tokens_in) + [wire.piece(model, p) for p in chunks_of(text)] + end
        for i, frame in enumerate(frames):
            if mode in ("cut", "garbage", "silent") and i == rule["after"]:
                await self.misbehave(request, response, mode)
                return 200, False, response
            await response.write(frame)
            if rule["delay"]:
                await asyncio.sleep(rule["delay"])
        await response.write_eof()
        return 200, True, response

    @staticmethod
    async def misbehave(request, response, mode):
        if mode == "cut":
            await asyncio.sleep(0.05)  # so that what was written leaves first
            request.transport.abort()
        elif mode == "garbage":
            await response.write(b"data: {\"choices\": [}\n\n<html>\xff\xfe not what was agreed</html>\n{\n\n")
            await response.write_eof()
        else:
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.05)

    async def embeddings(self, request):
        """POST /embeddings; rules with wire="embeddings" apply (status modes, drop, garbage, delay)."""
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        rule = self.rule_for("embeddings", body["model"], "embed", "\n".join(texts))
        self.count += 1
        self.record(event="request", n=self.count, path=request.path, wire="embeddings", model=body["model"], phase="embed",
                    mode=rule["mode"], texts=texts, parameters={k: v for k, v in body.items() if k != "input"})
        if rule["first_delay"]:
            await asyncio.sleep(rule["first_delay"])
        if rule["mode"] in STATUS_MODES:
            status, kind, message = STATUS_MODES[rule["mode"]]
            return web.json_response(OpenAI.error(kind, message), status=status)
        if rule["mode"] == "drop":
            request.transport.abort()
            return web.Response()
        if rule["mode"] == "garbage":
            return web.json_response({"data": "none"})
        dim = body.get("dimensions", EMBED_DIM)
        return web.json_response({"object": "list", "model": body["model"], "data": [
            {"object": "embedding", "index": i, "embedding": embedding(text, dim)} for i, text in enumerate(texts)],
            "usage": {"prompt_tokens": sum(len(t) // 4 + 1 for t in texts), "total_tokens": 0}})

    @staticmethod
    async def tags(request):
        return web.json_response({"models": [{"name": "llama3.2:latest", "size": 1}, {"name": "qwen2.5:7b", "size": 2}]})

    async def control(self, request):
        if request.method == "DELETE":
            self.rules = []
            self.release()
        elif request.method == "POST":
            wanted = await request.json()
            unknown = set(wanted) - set(RULE_DEFAULTS) - {"refuse", "hold", "release"}
            if unknown or wanted.get("mode", "ok") not in MODES:
                return web.json_response({"error": f"unknown: {sorted(unknown) or wanted['mode']}"}, status=400)
            if "refuse" in wanted:
                asyncio.get_running_loop().create_task(self.refuse(float(wanted["refuse"])))
            elif "hold" in wanted:
                self.hold_from = self.count + int(wanted["hold"])
            elif "release" in wanted:
                self.release()
            else:
                self.rules.append({**RULE_DEFAULTS, **wanted})
        return web.json_response({"rules": self.rules, "count": self.count})

    def release(self):
        self.hold_from = 0
        self.released.set()
        self.released = asyncio.Event()

    async def refuse(self, seconds):
        await self.site.stop()
        await asyncio.sleep(seconds)
        self.site = web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True)
        await self.site.start()

    async def log(self, request):
        return web.json_response(self.records)

    async def start(self, port):
        app = web.Application(client_max_size=64 << 20)
        for paths, wire in ((("/v1/chat/completions", "/chat/completions", "/v1beta/openai/chat/completions"), OpenAI()),
                            (("/v1/messages", "/messages"), Anthropic()), (("/api/chat",), Ollama())):
            for path in paths:
                app.router.add_post(path, self.handler(wire))
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_get("/api/tags", self.tags)
        app.router.add_route("*", "/_control", self.control)
        app.router.add_get("/_log", self.log)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        self.site = web.TCPSite(self.runner, "127.0.0.1", port)
        await self.site.start()
        self.port = self.site._server.sockets[0].getsockname()[1]


# ---- the side of the test ----

class ProviderServer:
    """The provider in a process of its own, on a free port."""

    def __init__(self, log_path=None):
        self.log_path = log_path or os.path.join(tempfile.mkdtemp(prefix="provider-"), "requests.jsonl")
        self.process = None
        self.port = 0
        self.log_read, self.records, self.forgotten = 0, [], 0

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--port", "0", "--log", self.log_path],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith(PORT_LINE):
            raise RuntimeError("the mock provider did not start")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self):
        return self.url + "/v1"

    anthropic_url = openai_url

    @property
    def ollama_url(self):
        return self.url

    def _control(self, method, **kw):
        import requests
        r = requests.request(method, self.url + "/_control", json=kw or None, timeout=10)
        if r.status_code != 200:
            raise ValueError(r.text)
        return r.json()

    def script(self, **rule):
        """Adds a rule: mode=, model=, wire=, phase=, contains=, times=, delay=, first_delay=, after=, retry_after=, text=, usage=."""
        return self._control("POST", **rule)

    def refuse(self, seconds):
        return self._control("POST", refuse=seconds)

    def hold(self, n):
        """Of the requests from now on the n-th and all later ones wait for release(), so that nothing runs away."""
        return self._control("POST", hold=n)

    def release(self):
        return self._control("POST", release=True)

    def reset(self):
        """Forgets the rules and holds nobody; the log stays."""
        return self._control("DELETE")

    def forget(self):
        """The requests so far are no longer told: what comes is another test's."""
        self.forgotten = len(self.log())

    def log(self):
        with open(self.log_path, "rb") as f:
            f.seek(self.log_read)
            text = f.read()
        whole = text.rfind(b"\n") + 1  # a line may be half-written
        self.log_read += whole
        self.records += [json.loads(line) for line in text[:whole].splitlines()]
        return self.records

    def requests(self, **want):
        """Requests so far, each with `status` and `complete` of its end (None while it runs), filtered by equality."""
        out = {}
        for rec in self.log()[self.forgotten:]:
            if rec["event"] == "request":
                out[rec["n"]] = {**rec, "status": None, "complete": None}
            elif rec["n"] in out:
                out[rec["n"]].update(status=rec["status"], complete=rec["complete"], end_time=rec["time"])
        return [r for r in out.values() if all(r.get(k) == v for k, v in want.items())]


try:
    import pytest
except ImportError:
    pass
else:
    @pytest.fixture
    def provider():
        with ProviderServer() as p:
            yield p


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default="")
    args = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that die are part of the tests

    async def serve():
        p = Provider(args.log)
        await p.start(args.port)
        print(f"{PORT_LINE}127.0.0.1:{p.port}", flush=True)
        await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
