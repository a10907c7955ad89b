# SPDX-License-Identifier: MIT
"""Maintenance mode: new debates are refused by every worker and node, running ones finish, a restart changes nothing."""
import pytest

from conftest import wait_until

ON, OFF, LOOK = "/api/admin/maintenance/enable", "/api/admin/maintenance/disable", "/api/admin/maintenance"
TASK = {"task": "Shall we stop for a moment?", "rounds": 1}


def health(server):
    return server.get("/api/health").json()["maintenance"]


@pytest.mark.server({"server": {"workers": 3}, "providers": {"demo": {"delay_ms": 500}}})
def test_maintenance(server):
    assert server.get(LOOK).json()["maintenance"] is False and health(server) is False
    running = server.post("/api/debates", TASK).json()["debate_id"]
    r = server.post(ON, {"reason": "new disks"}).json()
    assert r["maintenance"] is True and r["enabled_by"] == "anonymous" and r["enabled_at"] and r["reason"] == "new disks"
    # Every worker refuses at once.
    for _ in range(12):
        refused = server.post("/api/debates", TASK)
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        assert "maintenance" in refused.json()["error"] and "new disks" in refused.json()["error"]
    wait_until(lambda: health(server) is True, 5)
    wait_until(lambda: "\naragora_maintenance_mode 1\n" in server.get("/metrics").text, 5)
    assert server.get("/readyz").status_code == 200 and server.get("/api/health").json()["status"] == "healthy"
    wait_until(lambda: server.get("/api/debates/%s/status" % running).json()["status"] == "completed")
    # On is on: its beginning stays.
    again = server.post(ON).json()
    assert again["enabled_at"] == r["enabled_at"] and again["reason"] == "new disks"
    server.stop()
    server.start()
    assert server.post("/api/debates", TASK).status_code == 503 and server.get(LOOK).json()["enabled_at"] == r["enabled_at"]
    wait_until(lambda: health(server) is True, 5)
    assert server.post(OFF).json()["maintenance"] is False
    assert server.post("/api/debates", TASK).status_code == 200
    wait_until(lambda: health(server) is False, 5)
    assert server.post(ON, {"reason": "x" * 501}).status_code == 400


def test_a_repeated_creation_is_answered(server):
    key = {"Idempotency-Key": "k1"}
    first = server.post("/api/debates", TASK, headers=key).json()["debate_id"]
    server.post(ON)
    again = server.post("/api/debates", TASK, headers=key)
    assert again.status_code == 200 and again.json()["debate_id"] == first and again.json()["replayed"] is True


@pytest.mark.server({"auth": {"api_token": "secret-token"}})
def test_it_needs_the_token(server):
    for path in (ON, OFF, "/api/admin/schedulers/receipt-retention/cleanup"):
        assert server.post(path).status_code == 401
    assert server.get(LOOK).status_code == 401
    r = server.post(ON, headers={"Authorization": "Bearer secret-token"})
    assert r.json()["enabled_by"] == "api-token"
