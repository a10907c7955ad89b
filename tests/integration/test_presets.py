# SPDX-License-Identifier: MIT
"""The presets in conf/: each is valid, says what it promises, and serves."""
import pytest
import yaml

from conftest import ROOT

PRESETS = {"development": {}, "production": {"ARAGORA_API_TOKEN": "t" * 40}, "behind-nginx": {"ARAGORA_API_TOKEN": "t" * 40}}
# What the tuning table of the deployment guide asks for.
TIMES = {"development": (120, 5, 10), "production": (300, 5, 30), "behind-nginx": (300, 5, 30)}


def path(name):
    return ROOT / "conf" / (name + ".yml")


def test_all_are_here():
    assert {p.stem for p in (ROOT / "conf").glob("*.yml")} == {*PRESETS, "aragora"}


@pytest.mark.parametrize("name", PRESETS)
def test_is_valid(make_server, name):
    s = make_server(start=False, env=PRESETS[name])
    checked = s.command("-t", "-c", path(name))
    assert checked.returncode == 0 and "configuration OK" in checked.stdout, checked.stderr
    printed = s.command("-T", "-c", path(name))
    server = yaml.safe_load(printed.stdout)["server"]
    seconds = [server[k] if isinstance(server[k], int) else {"2m": 120, "5m": 300, "5s": 5, "10s": 10, "30s": 30}[server[k]]
               for k in ("request_timeout", "keepalive", "graceful_timeout")]
    assert printed.returncode == 0 and tuple(seconds) == TIMES[name]
    assert "t" * 40 not in printed.stdout


@pytest.mark.parametrize("name", ["production", "behind-nginx"])
def test_demands_secrets(make_server, name):
    checked = make_server(start=False).command("-t", "-c", path(name))
    assert checked.returncode == 4 and "auth.api_token" in checked.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_serves(make_server, name):
    """With other ports, folders and a number of workers that suits a test."""
    preset = yaml.safe_load(path(name).read_text())
    config = {section: values for section, values in preset.items() if section != "storage"}
    config["server"] = {k: v for k, v in preset["server"].items() if k not in ("bind", "ws_bind", "pidfile", "workers")}
    s = make_server(config, env=PRESETS[name])
    answer = s.get("/api/debates", headers={"Authorization": "Bearer " + PRESETS[name].get("ARAGORA_API_TOKEN", "")})
    assert answer.status_code == 200
    assert s.get("/api/debates").status_code == (200 if name == "development" else 401)
