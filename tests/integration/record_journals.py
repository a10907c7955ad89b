# SPDX-License-Identifier: MIT
"""Records journals of whole debates for tests/unit/journal_test.c, which replays them with every later engine:

    python3 tests/integration/record_journals.py v4 [name ...]

writes tests/unit/journals/v4-<name>.json with plan, steps and result of each debate below, run by the binary of the
integration tests against the scripted provider. Done once for each ENGINE_VERSION, before it is released; files of
former versions are never made anew.
"""
import json
import sqlite3
import sys
import tempfile
from pathlib import Path

from conftest import ROOT, Server, wait_until
from provider import ProviderServer

AGENTS = ["anthropic|claude-sonnet-4-5|skeptic|critic", "openai|gpt-4o|analyst", "openai|gpt-4o-mini|pragmatist|synthesizer"]
REAL = {"agents": AGENTS, "rounds": 2}
DEMO = {"agents": ["demo", "demo", "demo"], "rounds": 2}
DEBATES = {
    "demo": DEMO,
    "majority": REAL,
    "weighted": dict(REAL, consensus="weighted"),
    "judge": dict(REAL, consensus="judge"),
    "hybrid": dict(REAL, consensus="hybrid", consensus_threshold=0.99),
    "semantic-five": {"agents": AGENTS + ["ollama|llama3.2", "openai|gpt-4.1"], "rounds": 1, "consensus": "semantic"},
    "none": dict(REAL, consensus="none", rounds=1),
    "everything": dict(REAL, consensus="weighted", protocol={
        "role_rotation": True, "asymmetric_stances": True, "position_shuffling": True, "vote_weights": True,
        "adaptive_consensus": True, "verbosity_penalty": True, "stability_detection": True}),  # since engine 3
    "two-waves": dict(REAL, rounds=1, consensus_threshold=0.5, protocol={"vote_early_stop": True}),  # since engine 4
    "voted-judge": dict(REAL, rounds=1, consensus="judge", protocol={"judge_selection": "voted"}),
    "failing": dict(REAL, agents=AGENTS + ["openai|broken"], rounds=1),
}


def record(server, version, name, body):
    debate = server.post("/api/debates", dict(body, task="Should a small team keep its own cache service?")).json()["id"]
    wait_until(lambda: server.get("/api/debates/%s/status" % debate).json()["status"] in ("completed", "failed"),
               60, "end of " + name)
    with sqlite3.connect("file:%s?mode=ro" % (server.data_dir / "aragora.db"), uri=True) as db:
        plan, result = db.execute("SELECT plan, result FROM debates WHERE id = ?", (debate,)).fetchone()
        steps = db.execute("SELECT key, result FROM debate_steps WHERE debate_id = ? AND state = 'done' ORDER BY key",
                           (debate,)).fetchall()
    path = ROOT / "tests/unit/journals" / ("%s-%s.json" % (version, name))
    path.write_text(json.dumps({"debate_id": debate, "plan": json.loads(plan), "result": json.loads(result),
                                "steps": {k: json.loads(r) for k, r in steps}},
                               ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n")
    print(path, path.stat().st_size)


def main(version, names):
    with tempfile.TemporaryDirectory() as folder, ProviderServer() as provider:
        provider.script(mode="auth", model="broken")
        server = Server(Path(folder), {"providers": {
            "openai": {"base_url": provider.openai_url, "api_key": "sk-test"},
            "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
            "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}}}).start()
        for name in names or DEBATES:
            record(server, version, name, DEBATES[name])
        server.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
