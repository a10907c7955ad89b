# SPDX-License-Identifier: MIT
"""The process model under load: workers that have served their number, binary upgrade, systemd, privileges, titles."""
import pytest

from conftest import wait_until
from load import Load


def pids(server):
    return {w["pid"] for w in server.workers()}


# ---- max_requests ----

@pytest.mark.server({"server": {"workers": 2, "max_requests": 300, "max_requests_jitter": 100}})
def test_worker_that_has_served_its_number_is_succeeded(server):
    """Its successor serves before it ends; nobody notices."""
    first = pids(server)
    fewest = 2
    with Load(server.port) as load:
        def renewed():
            nonlocal fewest
            now = pids(server)
            fewest = min(fewest, len(now))
            return not now & first
        wait_until(renewed, 60, "both workers succeeded")
        wait_until(lambda: load.answers > 3000, 60, "load")
    assert not load.failures, load.failures[:5]
    assert load.told_to_close > 0
    assert fewest == 2
    assert "worker died" not in server.run_log() and server.status()["generation"] == 1
    # The numbers of two workers differ (jitter), and each is at least what the configuration says.
    served = [line["requests"] for line in server.log_lines() if line["message"].startswith("worker has served its number")]
    assert len(served) >= 4 and all(n >= 300 for n in served)


def test_successor_that_dies_leaves_the_old_one_serving(make_server, tmp_path):
    """One death at boot: the old worker goes on, a later successor takes its place."""
    (tmp_path / "arms").mkdir()
    server = make_server({"server": {"workers": 1, "max_requests": 50}}, env={"ARAGORA_FAULT_ARM": str(tmp_path / "arms")})
    old = pids(server)
    armed = tmp_path / "arms" / "worker.boot"
    armed.touch()
    with Load(server.port, kept=2, fresh=1) as load:
        wait_until(lambda: not armed.exists(), what="death at boot")
        server.wait_log("worker died")
        assert pids(server) == old
        wait_until(lambda: not pids(server) & old, what="a successor serves")
    assert not load.failures, load.failures[:5]
