# SPDX-License-Identifier: MIT
"""The presets in conf/: each is valid, says what it promises, and serves."""
import os

import pytest
import yaml

from conftest import ROOT
from redis_kit import make_redis, redis_server  # noqa: F401

PRESETS = {"development": {}, "production": {"ARAGORA_API_TOKEN": "t" * 40}, "behind-nginx": {"ARAGORA_API_TOKEN": "t" * 40}}
# Those of the self-hosting guide.
GUIDE = {"simple": {}, "sme": {"ARAGORA_JWT_SECRET": "j" * 40, "ARAGORA_POSTGRES_DSN": "postgresql://a:b@localhost/c",
                               "REDIS_URL": "redis://localhost", "ARAGORA_API_TOKEN": "t" * 40}}
# What the tuning table of the deployment guide asks for.
TIMES = {"development": (120, 5, 10), "production": (300, 5, 30), "behind-nginx": (300, 5, 30)}


def path(name):
    return ROOT / "conf" / (name + ".yml")


def test_all_are_here():
    assert {p.stem for p in (ROOT / "conf").glob("*.yml")} == {*PRESETS, *GUIDE, "aragora"}


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
    assert ("workers run as root" in s.log()) == (os.getuid() == 0 and name != "development")


@pytest.mark.parametrize("name", GUIDE)
def test_of_the_guide_is_valid(make_server, name):
    checked = make_server(start=False, env=GUIDE[name]).command("-t", "-c", path(name))
    assert checked.returncode == 0 and "configuration OK" in checked.stdout, checked.stderr


def test_sme_names_everything_that_is_missing(make_server):
    checked = make_server(start=False, env={"ARAGORA_JWT_SECRET": "short"}).command(
        "-t", "-c", path("sme"))
    assert checked.returncode == 4
    for word in ("storage.backend", "auth.jwt_secret"):
        assert word in checked.stderr, word


def preset(name):
    """Without what a test puts in other places."""
    config = {section: values for section, values in yaml.safe_load(path(name).read_text()).items() if section != "storage"}
    config["server"] = {k: v for k, v in config["server"].items() if k not in ("bind", "ws_bind", "workers")}
    return config


def test_simple_serves(make_server):
    s = make_server(preset("simple"))
    assert s.post("/api/debates", {"task": "Does the simple preset answer?", "rounds": 1}).status_code == 200


def test_sme_serves(make_server, postgres, redis_server):
    config = preset("sme")
    config["storage"] = {"dsn": postgres.database(), "required": True}
    s = make_server(config, env={**{k: GUIDE["sme"][k] for k in ("ARAGORA_JWT_SECRET", "ARAGORA_API_TOKEN")},
                                 "REDIS_URL": redis_server.url()})
    auth = {"Authorization": "Bearer " + GUIDE["sme"]["ARAGORA_API_TOKEN"]}
    assert s.get("/api/debates").status_code == 401
    created = s.post("/api/debates", {"task": "Does the team's preset answer?", "rounds": 1}, headers=auth)
    assert created.status_code == 200, created.text
