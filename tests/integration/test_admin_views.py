# SPDX-License-Identifier: MIT
"""What an admin looks at: circuit breakers of the whole node and their reset, recent errors, figures of the service."""
from datetime import datetime, timedelta, timezone
from signal import SIGHUP

import pytest

from conftest import free_port, wait_until
from talk import create, debate, wait_end

TOKEN = "an-admin-token-that-nobody-may-see"
ADMIN = {"Authorization": "Bearer " + TOKEN}
CLOSED = "http://127.0.0.1:%d/v1" % free_port()


def states(server, path="/api/system/circuit-breakers"):
    """Of every breaker, the same in both forms."""
    doc = server.get(path).json()
    form_a = {k: v["status"].replace("-", "_") for k, v in doc["circuit_breakers"].items()}
    assert form_a == {b["agent"]: b["state"] for b in doc["breakers"]}
    assert doc["registry_size"] == doc["summary"]["total"] == len(form_a)
    for state in ("open", "closed", "half_open"):
        assert doc["summary"][state] == list(form_a.values()).count(state)
    assert doc["health"]["open_circuits"] == [k for k, v in form_a.items() if v == "open"]
    assert doc["health"]["status"] == ("degraded" if doc["summary"]["open"] else "healthy")
    return form_a


@pytest.mark.server({"server": {"workers": 3},
                     "providers": {"openai": {"base_url": CLOSED, "api_key": "sk-test"}, "demo": {"delay_ms": 0}},
                     "debates": {"retry_attempts": 1, "breaker_failures": 1, "breaker_cooldown": "1h"},
                     "deliveries": {"allow_private": ["127.0.0.0/8"], "max_retries": 3, "retry_base": "50ms", "breaker_failures": 1,
                                    "breaker_cooldown": "1h", "timeout": "2s"}})
def test_circuit_breakers(server):
    """Whichever worker called, every worker shows it; and closes it."""
    assert states(server) == {}
    ident = create(server, agents=["gpt", "gpt-4o-mini"], callback_url="http://127.0.0.1:%d/hook/secret-path" % free_port())
    wait_end(server, ident)
    wait_until(lambda: "openai|gpt-4o" in states(server) and [v for k, v in states(server).items() if k.startswith("webhook:")] == ["open"],
               30, "open breakers")
    for _ in range(6):
        found = states(server, "/api/circuit-breakers")
        assert "openai|gpt-4o" in found and found["openai|gpt-4o"] == "open"
        health = server.get("/api/agents/health").json()
        assert health["circuit_breakers"]["openai|gpt-4o"]["state"] == "open" and health["overall_status"] == "degraded"
    hook = next(k for k in found if k.startswith("webhook:"))
    doc = server.get("/api/circuit-breakers")
    one = doc.json()["circuit_breakers"]["openai|gpt-4o"]
    assert one["failures"] >= 1 and one["failure_threshold"] == 1 and one["cooldown_seconds"] == 3600
    assert 0 < one["cooldown_remaining"] <= 3600 and one["open_duration"] >= 0
    assert "secret-path" not in doc.text and "sk-test" not in doc.text
    back = server.post("/api/system/circuit-breakers/openai%7Cgpt-4o/reset")
    assert back.status_code == 200 and back.json() == {"reset": True, "agent": "openai|gpt-4o"}
    wait_until(lambda: states(server)["openai|gpt-4o"] == "closed", 20, "the breaker is closed")
    assert states(server)[hook] == "open"
    assert server.post("/api/admin/circuit-breakers/reset").json()["reset"] is True
    wait_until(lambda: set(states(server).values()) == {"closed"}, 20, "all breakers are closed")


@pytest.mark.server({"auth": {"api_token": TOKEN}})
def test_errors(server):
    assert server.get("/api/system/errors", headers=ADMIN).json() == {"errors": [], "total": 0, "limit": 20}
    for n in range(3):
        server.conf_path.write_text("server: {workers: %d, nonsense: 1}\n" % n)
        server.signal(SIGHUP)
        wait_until(lambda: server.get("/api/system/errors", headers=ADMIN).json()["total"] > n, 20, "an error of the master")
    doc = server.get("/api/system/errors?limit=2", headers=ADMIN).json()
    newest, second = doc["errors"]
    assert doc["total"] >= 3 and int(newest["id"]) > int(second["id"])
    assert newest["level"] == "error" and newest["component"] and "server.nonsense" in newest["message"]
    at = datetime.fromisoformat(newest["timestamp"].replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - at) < timedelta(minutes=5)
    assert len(server.get("/api/system/errors", headers=ADMIN).json()["errors"]) == doc["total"]
    # They outlive workers, and hold no token.
    assert TOKEN not in server.get("/api/system/errors", headers=ADMIN).text


def test_stats(server):
    debate(server)
    ident = create(server)
    wait_end(server, ident)
    r = server.get("/api/admin/stats")
    assert r.status_code == 200, r.text
    doc = r.json()
    assert doc["active_debates"] == 0 and doc["total_debates"] == 2 and doc["debates_today"] >= 0
    assert doc["total_organizations"] >= 1 and sum(doc["tier_distribution"].values()) == doc["total_organizations"]
    assert doc["stats"]["total_users"] == doc["total_users"] == 0 and doc["maintenance"] is False
    assert "total_debates_this_month" in doc["stats"] and "new_orgs_7d" in doc["stats"] and "users_active_24h" in doc["stats"]
    doc = server.get("/api/system/stats").json()
    assert doc["total_debates"] == 2 and doc["debates_this_week"] == 2 and 0 <= doc["consensus_rate"] <= 1
    assert doc["total_agents"] > 3 and doc["active_debates"] == 0
    doc = server.get("/api/system/info").json()
    assert doc["environment"] == "development" and doc["uptime_seconds"] >= 0 and doc["version"]
    doc = server.get("/api/auth/stats").json()
    assert doc["enabled"] is False and doc["rate_limit_per_minute"] == 60 and doc["ip_rate_limit_per_minute"] == 120


@pytest.mark.server({"providers": {"demo": {"delay_ms": 300}}})
def test_running_debates_are_counted(server):
    ident = create(server, rounds=3)
    wait_until(lambda: server.get("/api/admin/stats").json()["active_debates"] == 1, 20, "the debate runs")
    server.post("/api/debates/%s/cancel" % ident)
    wait_end(server, ident)
    assert server.get("/api/admin/stats").json()["active_debates"] == 0


@pytest.mark.server({"auth": {"required": True, "api_token": TOKEN}})
@pytest.mark.parametrize("path", ["/api/system/rate-limits", "/api/system/errors", "/api/system/circuit-breakers", "/api/circuit-breakers",
                                  "/api/admin/stats", "/api/system/stats", "/api/auth/stats"])
def test_not_for_everybody(server, path):
    assert server.get(path).status_code == 401
    assert server.get(path, headers=ADMIN).status_code == 200
