# SPDX-License-Identifier: MIT
"""A reload every second for a minute (STORM_SECONDS) with 4 workers, 2,000 WebSockets (STORM_SOCKETS), wrk, clients
with one connection per request and debates under way (make chaos). Nothing may fail and no event may be lost."""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from crash import Node, node_config, pace  # noqa: E402
from provider import ProviderServer  # noqa: E402
from storm import storm, upgrades  # noqa: E402

SECONDS = int(os.environ.get("STORM_SECONDS", "60"))
SOCKETS = int(os.environ.get("STORM_SOCKETS", "2000"))


def test_storm(tmp_path):
    with ProviderServer() as provider:
        pace(provider, 0.05)
        node = Node(tmp_path / "node", node_config(provider, server={"workers": 4}, log={"level": "info"}))
        try:
            node.start().wait_workers(4)
            done = storm(node, provider, SECONDS, SOCKETS, 64)
            assert done["reloads"] >= SECONDS // 2
        finally:
            node.close()


def test_upgrades_under_load(tmp_path):
    """A binary upgrade every three seconds, five times; the old master ends when the new one serves."""
    with ProviderServer() as provider:
        pace(provider, 0.05)
        node = Node(tmp_path / "node", node_config(provider, server={"workers": 4}, log={"level": "info"}))
        try:
            node.start().wait_workers(4)
            done = upgrades(node, provider, 5, SOCKETS // 4, 64)
            assert done["restarts"] >= SOCKETS // 4
        finally:
            node.close()
