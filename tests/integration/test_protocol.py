# SPDX-License-Identifier: MIT
"""What the protocol of a debate changes: what agents are told in each round, when the rounds end, what votes weigh, and
what is told of it afterwards. The test build re-runs every finished debate from its journal and compares the bytes."""
import pytest

from conftest import wait_until
from talk import log
from test_agents import TASK, TEAM, debate

MODELS = ["gpt-4o", "claude-opus-4-6", "llama3.2"]
ALL = {"role_rotation": True, "asymmetric_stances": True, "position_shuffling": True, "vote_weights": True,
       "adaptive_consensus": True, "verbosity_penalty": True, "stability_detection": True, "agreement_intensity": 9}


@pytest.fixture(scope="module")
def server(tmp_path_factory, provider):
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("protocol"), {
        "server": {"workers": 1},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"},
                      "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                      "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}}}).start()
    yield s
    s.close()


class Asked:
    """The provider's requests since the last look away from them."""

    def __init__(self, provider):
        self.provider = provider
        self.forget()

    def forget(self):
        self.provider.reset()
        self.before = len(self.provider.requests())

    def __call__(self, phase):
        return [r for r in self.provider.requests()[self.before:] if r["phase"] == phase]

    def prompts(self, phase):
        return [r["system"] + "\n" + r["prompt"] for r in self(phase)]


@pytest.fixture
def asked(provider):
    return Asked(provider)


def events(server, debate, kind):
    return [e for e in log(server, debate["id"]) if e["type"] == kind]


def test_all_of_it_at_once(server, provider, asked):
    d = debate(server, rounds=2, protocol=ALL)
    assert d["status"] == "completed", d
    assert d["protocol"]["agreement_intensity"] == 9 and d["protocol"]["role_rotation"] is True
    assert len(asked("vote")) == 3 * 3, "each voter sees three orders"
    assert len(d["votes"]) == 3 and all(v["ballots"] == 3 for v in d["votes"])
    stances = [s for s in ("speak for the affirmative", "speak for the negative", "take no side")
               if any(s in p for p in asked.prompts("propose"))]
    assert len(stances) == 3, "three seats, three stances"
    critic = asked.prompts("critique")
    assert sum("analysis:" in p for p in critic) == 6 and sum("the last check" in p for p in critic) == 6
    assert all("In this round you are the" in p for p in critic)
    assert all("Integrate the critiques" in p for p in asked.prompts("revise"))
    assert not any("In this round" in p for p in asked.prompts("vote")), "nobody votes by an office"
    novelty = d["per_agent_novelty"]
    assert set(novelty) == set(d["agents"]) and all(len(v) == 3 and v[0] == 1.0 for v in novelty.values())
    assert all(0 <= x <= 1 for v in novelty.values() for x in v) and 0 <= d["avg_novelty"] <= 1
    assert set(d["per_agent_similarity"]) == set(d["agents"])
    c = d["consensus"]
    assert 0 <= c["margin"] <= c["weighted_share"] <= 1 and 0 <= c["share"] <= 1
    assert c["reached"] == (c["weighted_share"] >= c["threshold"])
    assert d["disagreement_report"]["agreement_score"] == c["share"] and set(d["disagreement_report"]["agent_alignment"]) == \
        {v["agent"] for v in d["votes"]}
    assert d["partial_consensus"]["overall_consensus"] == c["reached"] and isinstance(d["debate_cruxes"], list)
    assert isinstance(d["minority"], list) and all({"position", "held_by", "votes", "reasons"} <= set(m) for m in d["minority"])


def test_agents_say_when_they_are_ready(server, provider, asked):
    text = "POSITION: Take %s.\n\nBecause it is what is known here.\nREADY: yes\nCONFIDENCE: 0.9"
    for i, model in enumerate(MODELS):
        provider.script(mode="ok", phase="revise", model=model, text=text % ("Redis", "Memcached", "neither of them")[i])
    d = debate(server, rounds=5, protocol={"min_rounds_before_early_stop": 1})
    assert d["rounds_used"] == 1 and d["early_stop"]["source"] == "ready_quorum", d["early_stop"]
    assert [e["data"]["source"] for e in events(server, d, "debate_early_terminated")] == ["ready_quorum"]
    assert not any("READY: yes" in p for p in asked.prompts("vote")), "peers do not see it"
    assert 'aragora_debate_early_termination_total{source="ready_quorum"} 1' in server.get("/metrics").text
    # "READY" is asked for in no debate that wants all its rounds
    asked.forget()
    d = debate(server, rounds=2, early_stopping=False, convergence_detection=False)
    assert d["rounds_used"] == 2 and not any("READY" in p for p in asked.prompts("revise"))


def test_old_words_are_asked_for_new_ones(server, provider, asked):
    for i, model in enumerate(MODELS):
        provider.script(mode="ok", model=model, phase="revise",
                        text="POSITION: %s.\n\nThe same again." % ("Redis", "Memcached", "neither of them")[i])
    d = debate(server, rounds=3, protocol={"enable_trickster": False, "convergence_detection": False})
    assert any(e["data"]["intervention_type"] == "novelty_challenge" and len(e["data"]["targets"]) == 3
               for e in events(server, d, "trickster_intervention"))
    assert len([p for p in asked.prompts("revise") if "Little in your last text" in p]) == 3, "in the round after"


def test_texts_that_say_the_same_are_criticised_once(server, provider, asked):
    same = "POSITION: Use Redis for sessions.\n\nIt is shared and known.\nCONFIDENCE: 0.7"
    for model in ("gpt-4o", "llama3.2"):
        provider.script(mode="ok", model=model, phase="propose", text=same)
    d = debate(server, rounds=1)
    assert len(d["critiques"]) == 4 and len({c["target_agent"] for c in d["critiques"]}) == 2
    assert len(asked("revise")) == 3, "both authors answer"


def test_a_persons_vote_weighs(server, provider, asked):
    provider.hold(1)
    r = server.post("/api/debates", {"task": TASK, "agents": TEAM, "rounds": 1})
    d, agents = r.json()["id"], r.json()["agents"]
    wait_until(lambda: asked("propose"), 30, "the drafts")
    for choice in (agents[1], agents[0]):  # the last one counts
        assert server.post("/api/debates/%s/vote" % d, {"choice": choice, "intensity": 10}).status_code in (200, 202)
    provider.release()
    wait_until(lambda: server.get("/api/debates/%s/status" % d).json()["status"] == "completed", 60, "end")
    c = server.get("/api/debates/" + d).json()["consensus"]
    assert c["audience"] == {"counted": 1, "weight_ppm": 1000000, "weight": 1.0, "votes": {agents[0]: 1},
                             "weights": {agents[0]: 1000000}}
    assert sum(g["votes"] for g in c["groups"]) == 3, "people are no heads"
    assert server.get("/api/debates/%s/explain" % d).json()["recount"]["agrees"] is True, "the explanation counts them too"


def test_meanings_are_asked_for_where_there_is_a_server(make_server, provider, asked):
    s = make_server({"server": {"workers": 1}, "embeddings": {"url": provider.openai_url, "model": "embed-1", "api_key": "k"},
                     "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"},
                                   "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                                   "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}}})
    d = debate(s, consensus="semantic")
    assert d["consensus"]["similarity"] == "embeddings" and asked("embed")
    provider.script(mode="500", wire="embeddings")
    d = debate(s, consensus="semantic", task="Another question about something else?")
    assert d["status"] == "completed" and d["consensus"]["similarity"] in ("words", "embeddings")


BAD = [({"protocol": {"agreement_intesity": 3}}, "protocol.agreement_intesity", "did you mean agreement_intensity?"),
       ({"protocol": {"thinking_budget": 3}}, "protocol.thinking_budget", "not supported"),
       ({"agreement_intensity": 12}, "agreement_intensity", "from 0 to 10"),
       ({"self_vote_weight": -1}, "self_vote_weight", "from 0 to 1"),
       ({"role_rotation": "yes"}, "role_rotation", "true or false")]


@pytest.mark.parametrize("body,field,says", BAD, ids=[b[1] for b in BAD])
def test_bad_settings_are_named(server, body, field, says):
    r = server.post("/api/debates", dict(body, task=TASK))
    assert r.status_code == 400 and r.json()["errors"][0]["field"] == field and says in r.json()["error"], r.text


def test_the_demo_is_as_it_was(server):
    d = debate(server, agents=["demo"] * 3, rounds=2)
    assert d["status"] == "completed" and len(d["critiques"]) == 12 and len(d["votes"]) == 3
    assert not events(server, d, "trickster_intervention") and not events(server, d, "role_rotation")
