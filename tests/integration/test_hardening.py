# SPDX-License-Identifier: MIT
"""What is left to somebody who runs code in a worker, what production refuses, and what systemd thinks of the unit."""
import os
import re
import shutil
import subprocess
from signal import SIGHUP

import pytest

from conftest import ROOT, wait_until


def status(pid):
    return dict(line.split(":\t", 1) for line in open("/proc/%d/status" % pid).read().splitlines() if ":\t" in line)


@pytest.mark.parametrize("mode", ["errno", "kill"])
def test_workers_are_filtered_and_work(make_server, mode):
    """Debates, files, time limits and reloads under the filter; what is refused is in tests/unit/sandbox_test.c."""
    s = make_server({"server": {"workers": 2, "seccomp": mode}})
    for w in s.workers():
        pid = w["pid"]
        assert status(pid)["Seccomp"].strip() == "2" and status(pid)["NoNewPrivs"].strip() == "1"
    master = status(s.process.pid)
    assert master["Seccomp"].strip() == status(os.getpid())["Seccomp"].strip()  # it starts programs: upgrades
    created = s.post("/api/debates", {"task": "Does all of it work?", "rounds": 1})
    assert created.status_code == 200
    s.signal(SIGHUP)
    wait_until(lambda: all(w["generation"] > 1 for w in s.workers()) and len(s.workers()) == 2, 60)
    assert s.get("/api/debates/%s" % created.json()["id"]).status_code == 200


def test_filter_can_be_off(make_server):
    s = make_server({"server": {"workers": 1, "seccomp": "off"}})
    assert status(s.workers()[0]["pid"])["NoNewPrivs"].strip() == "1"
    assert status(s.workers()[0]["pid"])["Seccomp"].strip() == status(os.getpid())["Seccomp"].strip()


def test_production_says_everything_at_once(make_server):
    s = make_server({"server": {"env": "production", "trusted_proxies": ["0.0.0.0/0"]}, "auth": {"required": False},
                     "cors": {"allowed_origins": ["*"]}, "rate_limit": {"enabled": False}, "headers": {"csp_mode": "dev"}},
                    env={"ARAGORA_JWT_SECRET": "changeme"}, start=False)
    checked = s.command("-t", "-c", s.conf_path)
    assert checked.returncode == 4
    for key in ("auth.required", "auth.jwt_secret", "cors.allowed_origins", "rate_limit.enabled", "headers.csp_mode",
                "server.trusted_proxies"):
        assert key in checked.stderr, key
    assert "changeme" not in checked.stderr


def test_secrets_that_everybody_can_read(make_server):
    s = make_server({"server": {"env": "production"}, "auth": {"api_token": "t" * 40}}, start=False)
    s.conf_path.chmod(0o644)
    checked = s.command("-t", "-c", s.conf_path)
    assert checked.returncode == 4 and "auth.api_token" in checked.stderr and "t" * 40 not in checked.stderr
    s.conf_path.chmod(0o600)
    assert s.command("-t", "-c", s.conf_path).returncode == 0


def test_credentials_of_systemd(make_server, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "auth.api_token").write_text("from-systemd-0123456789\n")
    (folder / "auth.api_token").chmod(0o400)
    s = make_server({"server": {"workers": 1}}, env={"CREDENTIALS_DIRECTORY": str(folder)})
    assert s.get("/api/debates").status_code == 401
    assert s.get("/api/debates", headers={"Authorization": "Bearer from-systemd-0123456789"}).status_code == 200


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_unit_scores_below_2():
    unit = ROOT / "packaging/systemd/aragorad.service"
    out = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
                         capture_output=True, text=True, check=False)
    score = re.search(r"Overall exposure level for aragorad.service: ([0-9.]+)", out.stdout + out.stderr)
    assert score and float(score.group(1)) < 2.0, out.stdout + out.stderr
