# SPDX-License-Identifier: MIT
"""`aragorad eval` against a local provider: what it measures, what it keeps, how it goes on after kill -9, and that it
never spends more than it may."""
import csv
import json
import os
import re
import signal
import subprocess
import xml.etree.ElementTree as tree

import pytest

from conftest import FOREIGN, binary, wait_until
from provider import provider  # noqa: F401  (a fixture)

TEAM = "gpt-4o,claude-opus-4-6,ollama|llama3.2"
MODELS = ("gpt-4o", "claude-opus-4-6", "llama3.2")
QUESTIONS = [
    {"id": "sum", "question": "What is 17 + 25?", "answer": 42},
    {"id": "capital", "question": "What is the capital of Australia?", "answer": "Canberra"},
    {"id": "planet", "question": "Which planet is the largest?", "choices": ["Mars", "Jupiter", "Saturn"], "answer": "B"},
    {"id": 4, "question": "Which metal is liquid at 20 degrees?", "choices": ["Iron", "Mercury"], "answer": "mercury"},
]
# What each model answers to each question; True where that is right.
SAYS = {
    "gpt-4o": [("42", True), ("Canberra", True), ("B", True), ("B", True)],
    "claude-opus-4-6": [("42.0", True), ("Sydney", False), ("Jupiter", True), ("A", False)],
    "llama3.2": [("43", False), ("Canberra", True), ("C", False), ("B", True)],
}


class Room:
    def __init__(self, folder, provider):  # noqa: F811
        self.folder, self.provider = folder, provider
        self.conf = folder / "eval.yml"
        self.results = folder / "results.jsonl"
        self.conf.write_text(json.dumps({
            "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test"},
                          "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                          "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}},
            "debates": {"retry_base": "20ms", "retry_attempts": 2, "agent_timeout": "20s"},
            "storage": {"data_dir": str(folder / "data")}}))
        self.dataset(QUESTIONS)

    def dataset(self, rows):
        self.data = self.folder / "questions.jsonl"
        self.data.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))

    def know(self):
        for model, answers in SAYS.items():
            for row, (said, _) in zip(QUESTIONS, answers):
                for phase in ("propose", "revise"):
                    self.provider.script(model=model, phase=phase, contains=row["question"],
                                         text=f"POSITION: The answer is {said}.\nI know it for certain.\nCONFIDENCE: 0.9")

    def command(self, *args, agents=TEAM):
        return [binary(), "eval", "--config", str(self.conf), "--dataset", str(self.data), "--agents", agents,
                "--results", str(self.results), *args]

    def start(self, *args, **kw):
        env = {k: v for k, v in os.environ.items() if not FOREIGN.match(k)}
        return subprocess.Popen(self.command(*args, **kw), env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def run(self, *args, code=0, **kw):
        p = self.start(*args, **kw)
        out, err = p.communicate(timeout=120)
        assert p.returncode == code, (p.returncode, out, err)
        return out, err

    def lines(self):
        return [json.loads(line) for line in self.results.read_text().splitlines(keepends=True) if line.endswith("\n")] \
            if self.results.exists() else []

    def answered(self):
        return [line for line in self.lines() if line.get("state") == "done"]


@pytest.fixture
def room(tmp_path, provider):  # noqa: F811
    return Room(tmp_path, provider)


def paid_twice(provider):  # noqa: F811
    """Keys of calls that were answered in full more than once."""
    ended = {r["n"] for r in provider.log() if r.get("event") == "end" and r["complete"] and r["status"] == 200}
    keys = [r["idempotency_key"].split("#")[0] for r in provider.requests() if r["n"] in ended]
    return sorted({key for key in keys if keys.count(key) > 1})


def test_arms_are_measured(room, provider):  # noqa: F811
    room.know()
    out, _ = room.run("--arms", "single,self-consistency@3,vote,debate-1,judge-1", "--json")
    doc = json.loads(out)
    arms = {arm["arm"]: arm for arm in doc["arms"]}
    assert list(arms) == ["single openai", "single anthropic", "single ollama", "self-consistency@3", "vote", "debate-1",
                          "judge-1"] or len(arms) == 7, list(arms)
    assert doc["complete"] and doc["compared"] == 4 and doc["spent_usd"] > 0
    for name, model in zip(list(arms)[:3], MODELS):
        assert arms[name]["accuracy"] == sum(right for _, right in SAYS[model]) / 4, name
        assert arms[name]["calls"] == 1
    assert arms["self-consistency@3"]["accuracy"] == 1 and arms["self-consistency@3"]["calls"] == 3
    assert abs(arms["single " + list(arms)[0].split()[1]]["brier"] - 0.01) < 1e-9
    for arm in arms.values():
        assert 0 <= arm["accuracy_low"] <= arm["accuracy"] <= arm["accuracy_high"] <= 1
        assert arm["tokens"] > 0
    assert arms["debate-1"]["tokens"] > arms["vote"]["tokens"] > arms["self-consistency@3"]["tokens"]
    # Nobody changes his mind here, and drafts are shared: three for each question, and two samples more.
    assert arms["debate-1"]["right_to_wrong"] == arms["debate-1"]["wrong_to_right"] == 0
    assert len(provider.requests(phase="propose")) == 4 * (3 + 2)
    assert not paid_twice(provider)

    head, *rows = list(csv.reader((room.folder / "results.csv").open()))
    assert head[:3] == ["arm", "questions", "accuracy"] and [row[0] for row in rows] == list(arms)
    svg = tree.parse(room.folder / "results.svg").getroot()
    assert svg.tag.endswith("svg") and len(list(svg.iter("{http://www.w3.org/2000/svg}g"))) == 7
    assert json.loads((room.folder / "results.json").read_text()) == doc

    before = len(provider.requests())
    out, _ = room.run("--arms", "single,self-consistency@3,vote,debate-1,judge-1")
    assert len(provider.requests()) == before, "everything is there already"
    assert re.search(r"4 of 4 questions are answered by all arms", out) and "self-consistency@3" in out


@pytest.mark.parametrize("n", [3, 17, 40])
def test_killed_and_started_again(room, provider, n):  # noqa: F811
    room.know()
    provider.hold(n)
    p = room.start("--arms", "single,vote,debate-1", "--concurrency", "2")
    wait_until(lambda: len(room.answered()) >= n - 1 and len(provider.requests()) >= n, 60, "all but the held calls")
    p.send_signal(signal.SIGKILL)
    p.communicate()
    with room.results.open("a") as f:
        f.write('{"q": "sum", "scope": "vote", "st')  # torn by the crash
    provider.release()
    out, _ = room.run("--arms", "single,vote,debate-1", "--concurrency", "2", "--json")
    doc = json.loads(out)
    assert doc["complete"]
    # A held call was answered after the release, to a client that was gone: those alone may be there twice.
    held = {r["idempotency_key"].split("#")[0] for r in provider.requests()[n - 1:] if r["n"] <= n + 12}
    assert set(paid_twice(provider)) <= held
    answered = [(line["q"], line["scope"], line["step"]) for line in room.answered()]
    assert len(answered) == len(set(answered)), "no step is stored twice"
    assert abs(doc["spent_usd"] - sum(line.get("cost_micro", 0) for line in room.lines()) / 1e6) < 1e-9


def test_budget(room, provider):  # noqa: F811
    room.know()
    whole, _ = room.run("--arms", "vote", "--results", str(room.folder / "whole.jsonl"), "--json")
    need = json.loads(whole)["spent_usd"]
    out, err = room.run("--arms", "vote", "--budget-usd", "%.6f" % (need / 2), "--json", code=1)
    doc = json.loads(out)
    assert not doc["complete"] and 0 <= doc["compared"] < 4
    assert 0 < doc["spent_usd"] <= need / 2
    assert "the budget of" in err and "goes on" in err
    # A debate that was cut for want of money counts for nothing: with enough of it the outcome is as if never stopped.
    again, _ = room.run("--arms", "vote", "--budget-usd", "5", "--json")
    assert json.loads(again)["arms"] == json.loads(whole)["arms"]
    assert abs(json.loads(again)["spent_usd"] - need) < need * 0.2


def test_nobody_answers(room, provider):  # noqa: F811
    provider.script(mode="auth")
    out, err = room.run("--arms", "single,vote", "--json", code=1)
    assert "nobody answered" in err and "auth" in err, err
    assert json.loads(out)["compared"] == 0
    assert not [line for line in room.lines() if "arm" in line], "what failed is no sample"
    provider.reset()
    room.know()
    assert json.loads(room.run("--arms", "single,vote", "--json")[0])["complete"]


def test_bad_datasets(room):
    room.dataset(["{\n", json.dumps({"id": 1, "question": "", "answer": "x"}) + "\n", "[]\n", "\n",
                  json.dumps({"id": 2, "question": "q", "answer": "D", "choices": ["x", "y"]}) + "\n",
                  json.dumps({"id": 3, "question": "q", "choices": ["x"]}) + "\n",
                  json.dumps({"id": 4, "question": "q"}) + "\n", json.dumps({"question": "q", "answer": 1}) + "\n",
                  json.dumps({"id": 1, "question": "q", "answer": 1}) + "\n"])
    _, err = room.run(code=1)
    said = {int(m[1]): m[2] for m in re.finditer(r"questions\.jsonl:(\d+): (.*)", err)}
    assert set(said) == {1, 2, 3, 5, 6, 7, 8, 9}, err
    for line, words in {1: "JSON", 2: "question", 3: "object", 5: "\"D\" is neither", 6: "choices", 7: "answer", 8: "id",
                        9: "line 2"}.items():
        assert words in said[line], (line, said[line])
    room.dataset([])
    assert "no question" in room.run(code=1)[1]
    room.data.unlink()
    assert "cannot be opened" in room.run(code=1)[1]


def test_refusals(room, provider):  # noqa: F811
    assert "is no arm" in room.run("--arms", "single,duel", code=1)[1]
    assert "2 to 64" in room.run("--arms", "self-consistency@1", code=1)[1]
    assert "twice" in room.run("--arms", "vote,vote", code=1)[1]
    assert "--budget-usd" in room.run("--budget-usd", "much", code=1)[1]
    assert "demo agents" in room.run(agents="demo,demo", code=1)[1]
    p = subprocess.run([binary(), "eval"], capture_output=True, text=True)
    assert p.returncode == 2 and "--dataset FILE is missing" in p.stderr
    room.know()
    room.run("--arms", "single", "--limit", "2")
    assert "other questions" in room.run("--arms", "single", code=1)[1]
    assert "other agents" in room.run("--arms", "single", "--limit", "2", agents="gpt-4o,ollama|llama3.2", code=1)[1]
    (room.folder / "results.jsonl").write_text('{"x": 1}\n')
    assert "no results file" in room.run("--arms", "single", code=1)[1]
