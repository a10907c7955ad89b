# SPDX-License-Identifier: MIT
"""What debates leave for later ones: decisions and dissent enter the next debate on the subject, cited, and nobody
else's."""
import re

import pytest

from conftest import wait_until
from provider import materials_of, provider  # noqa: F401  (a fixture)
from test_tenancy import AUTH, account

TEAM = ["gpt-4o", "claude-opus-4-6", "ollama|llama3.2"]
TASK = "Should we use Redis or Memcached for the session storage of our shop?"
AGAIN = "Redis or Memcached: which is better for session storage in a web shop?"
OTHER = "Which colour suits a bicycle shed?"
DISSENT = "Leave things as they are: memcached was never measured."


def settings(provider, **more):  # noqa: F811
    return {"server": {"workers": 2},
            "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"},
                          "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                          "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}},
            "debates": {"retry_base": "50ms", "agent_timeout": "20s"}, **more}


def ballots(provider, choices):  # noqa: F811
    """Scripts what models say: {model: (its position, the position that it votes for)}."""
    for model, (position, choice) in choices.items():
        for label in ("P1", "P2", "P3"):
            provider.script(model=model, phase="vote", contains="%s>>>\nPOSITION: %s" % (label, choice),
                            text="CHOICE: %s\nCONFIDENCE: 0.9\nCONTINUE: no\nREASONING: %s carries." % (label, choice))
        for phase in ("propose", "revise"):
            provider.script(model=model, phase=phase, text="POSITION: %s\n\nBecause of the figures.\nCONFIDENCE: 0.8" % position)


def divided(provider):  # noqa: F811
    """Two for Redis, one against."""
    redis = "Take Redis, sessions must survive a restart."
    ballots(provider, {"gpt-4o": (redis, redis), "claude-opus-4-6": ("Take Redis with a replica on a second machine.", redis),
                       "llama3.2": (DISSENT, DISSENT)})


def debate(who, task, **body):
    answer = who.post("/api/debates", {"task": task, "agents": TEAM, "rounds": 1, **body}) if hasattr(who, "post") else \
        who.ask("POST", "/api/debates", {"task": task, "agents": TEAM, "rounds": 1, **body})
    assert answer.status_code in (200, 201, 202), answer.text
    ident = answer.json()["id"]
    wait_until(lambda: who.get("/api/debates/" + ident).json().get("completed_at"), 90, "end of the debate")
    return who.get("/api/debates/" + ident).json()


def prompts(provider, task):  # noqa: F811
    """{phase: [prompt]} of the calls for this task."""
    out = {}
    for r in provider.requests():
        if dict(materials_of(r["prompt"])).get("task") == task:
            out.setdefault(r["phase"], []).append(r["prompt"])
    return out


def test_a_second_debate_knows_the_first(make_server, provider):  # noqa: F811
    s = make_server(settings(provider, auth=AUTH))
    ann, bob = account(s, "ann@a.example.org", "A"), account(s, "bob@b.example.org", "B")
    divided(provider)
    first = debate(ann, TASK)
    assert first["consensus"]["reached"] and first["background"] == [], (first["status"], first["votes"], first["agent_failures"], first["reason"])
    assert [d["agent"] for d in first["dissents"]] == ["ollama"], first["dissents"]
    assert "K1," not in str(prompts(provider, TASK))

    provider.reset()
    provider.script(model="gpt-4o", phase="propose", text="POSITION: Stay with Redis.\n\nAs [K1] found.\nCONFIDENCE: 0.9")
    second = debate(ann, AGAIN)
    told = prompts(provider, AGAIN)
    for phase in ("propose", "critique", "revise", "synthesis"):
        for prompt in told[phase]:
            pieces = {name.split(",")[0]: (name, text) for name, text in materials_of(prompt)}
            assert "from an earlier debate" in pieces["K1"][0] and first["final_answer"][:80] in pieces["K1"][1], prompt
            assert "a dissent" in pieces["K2"][0] and DISSENT in pieces["K2"][1], prompt
    assert "claude" not in told["propose"][0].split("K1,")[1].lower(), "participants have no names in prompts"
    by = {b["label"]: b for b in second["background"]}
    assert by["K1"]["id"] == first["id"] and by["K1"]["source"] == "consensus" and by["K1"]["title"] == TASK
    assert by["K1"]["cited_by"] == ["gpt-4o"], by
    assert by["K2"]["dissent"] and by["K2"]["cited_by"] == []
    recall = [e for e in ann.get("/api/debates/%s/events" % second["id"]).json()["events"] if e["type"] == "memory_recall"]
    assert recall and recall[0]["data"]["hits"][0]["topic"] == TASK

    # Another subject, another tenant, and who does not want it: nothing of it.
    assert debate(ann, OTHER)["background"] == []
    assert "K1," not in str(prompts(provider, OTHER))
    theirs = debate(bob, TASK + " ")
    assert theirs["background"] == [] and "background" not in debate(ann, AGAIN + " Once more.", use_memory=False)
    metrics = s.get("/metrics").text
    assert re.search(r'aragora_km_cross_debate_reuse_total\{source_type="consensus"\} 2\b', metrics)

    # What is deleted is forgotten.
    assert ann.ask("DELETE", "/api/debates/" + first["id"]).status_code in (200, 204)
    assert first["id"] not in str(debate(ann, AGAIN + " Finally?")["background"])
