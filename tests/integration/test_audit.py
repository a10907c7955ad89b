# SPDX-License-Identifier: MIT
"""The audit log: acts leave events that join a hash chain, whatever dies meanwhile; tampering is told; questions and
exports answer each organization with its own."""
from conftest import wait_until


def chain(s):
    return s.sql("SELECT seq, action, outcome, actor_id, org_id, correlation_id, previous_hash, event_hash FROM audit_events ORDER BY seq")


def wait_chain(s, count):
    """Waits until nothing is pending and `count` events stand in the chain."""
    wait_until(lambda: not s.sql("SELECT COUNT(*) FROM audit_inbox")[0][0] and len(chain(s)) >= count, what="%d chained events" % count)
    return chain(s)


def test_an_act_is_chained(server):
    on = server.post("/api/admin/maintenance/enable", {"reason": "a disk"})
    assert on.status_code == 200
    server.post("/api/admin/maintenance/disable")
    first, second = wait_chain(server, 2)
    assert first[:5] == (1, "admin.maintenance_enabled", "success", "anonymous", "default")
    assert first[5] == on.headers["X-Request-ID"] and first[6] == "" and len(first[7]) == 64
    assert second[:2] == (2, "admin.maintenance_disabled") and second[6] == first[7] != second[7]
