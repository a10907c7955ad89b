# SPDX-License-Identifier: MIT
"""The start in its eight phases: timed, logged, at /api/health/startup; what happens when a backend is away."""
from signal import SIGCONT, SIGHUP

import psutil
import requests

from conftest import free_port, wait_until
from redis_kit import make_redis, redis_server  # noqa: F401  (fixtures)
from talk import debate

PHASES = ["configuration", "backends", "schema", "observability", "schedulers", "control plane and knowledge", "security",
          "workers"]


def answer(server, path):
    """A list with the answer, empty without one: an answer of 503 is not true."""
    try:
        return [server.get(path, timeout=5)]
    except requests.RequestException:
        return []


def away():
    return {"redis": {"url": "redis://:geheim@127.0.0.1:%d" % free_port(), "timeout": "500ms"}}


def test_all_phases_are_told(server):
    r = server.get("/api/health/startup")
    d = r.json()
    assert r.status_code == 200 and d["status"] == "complete" and d["strict"] is False and d["timestamp"].endswith("Z")
    assert [(p["phase"], p["name"]) for p in d["phases"]] == list(enumerate(PHASES, 1))
    assert all(p["status"] == "ok" and p["duration_ms"] >= 0 for p in d["phases"])
    by = {p["name"]: p for p in d["phases"]}
    for name in ("configuration", "backends", "schema", "security", "workers"):
        assert by[name]["duration_ms"] > 0
    assert by["backends"]["detail"].endswith("; redis not configured") and by["workers"]["detail"] == "2 serve"
    assert by["workers"]["duration_ms"] < d["startup_time_ms"] < 30000  # the seed's limit
    lines = [l for l in server.log_lines() if l["component"] == "startup"]
    assert [l["phase"] for l in lines] == list(range(1, 9)) and [l["message"] for l in lines] == PHASES
    assert {l["level"].lower() for l in lines} == {"info"} and all(l["ms"] >= 0 for l in lines)
    assert server.get("/readyz").json()["checks"]["startup_complete"] is True


def test_what_it_says_stays_over_a_reload(server):
    before = server.get("/api/health/startup").json()["phases"]
    old = {w["pid"] for w in server.workers()}
    server.signal(SIGHUP)
    wait_until(lambda: old.isdisjoint(w["pid"] for w in server.workers(None)), 60, "new workers")
    assert server.get("/api/health/startup").json()["phases"] == before


def test_a_backend_is_away(make_server):
    s = make_server(away())
    d = s.get("/api/health/startup").json()
    assert d["status"] == "degraded"
    assert [p["name"] for p in d["phases"] if p["status"] == "degraded"] == ["backends"]
    assert "Connection refused" in d["phases"][1]["detail"] and "geheim" not in s.log()
    assert s.get("/readyz").status_code == 200 and s.get("/api/health").json()["status"] == "degraded"
    assert debate(s)["status"] == "completed"


def test_strict(make_server, redis_server):
    env = {"ARAGORA_STRICT_STARTUP": "true"}
    s = make_server(away(), env=env, start=False).spawn()
    code, said = s.expect_exit()
    assert code != 0 and "redis.url: redis: cannot connect: Connection refused (server.strict_startup)" in said
    assert "geheim" not in said
    d = make_server({"redis": {"url": redis_server.url()}}, env=env).get("/api/health/startup").json()
    assert d["status"] == "complete" and d["strict"] is True and "redis connected" in d["phases"][1]["detail"]


def test_a_database_server_may_be_demanded(make_server):
    s = make_server(env={"ARAGORA_REQUIRE_DATABASE": "true"}, start=False).spawn()
    code, said = s.expect_exit()
    assert code != 0 and "storage.required" in said and "DATABASE_URL" in said


def test_ready_waits_for_all_workers(make_server, tmp_path):
    """One of two workers is held at its boot: the other one serves, but the start is not over."""
    arm = tmp_path / "arm"
    arm.mkdir()
    (arm / "worker.boot").write_text("stop")
    s = make_server(start=False, env={"ARAGORA_FAULT_ARM": str(arm)}).spawn()
    held = wait_until(lambda: [p for p in s.family() if p.status() == psutil.STATUS_STOPPED], what="a worker is held")
    for path in ("/readyz", "/api/health/ready"):
        r = wait_until(lambda: answer(s, path), what="the other worker answers")[0]
        assert r.status_code == 503 and r.json()["reason"] == "startup in progress"
        assert r.json()["checks"]["startup_complete"] is False and r.headers["Retry-After"]
    d = s.get("/api/health/startup").json()
    assert d["status"] == "in_progress" and d["phases"][0]["status"] == "ok" and d["phases"][7]["status"] == "pending"
    assert s.get("/healthz").status_code == 200
    held[0].send_signal(SIGCONT)
    s.wait_ready()
    assert s.get("/readyz").status_code == 200
