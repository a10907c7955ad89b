# SPDX-License-Identifier: MIT
"""Logging in with an account elsewhere, against a provider in this process that speaks OpenID Connect: discovery, PKCE,
nonce, published keys that change. The browser is played by requests without following redirects."""
import base64
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from test_auth import AUTH, bearer, login, me, refused_everywhere, register
from test_credentials import call, enable, forget_step, totp, verify

BACK = "http://localhost:3000/auth/callback"
ERROR = "http://localhost:3000/auth/error"


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, kid, alg):
        self.kid, self.alg = kid, alg
        if alg == "RS256":
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            n = self.private.public_key().public_numbers()
            self.public = {"kty": "RSA", "n": number(n.n), "e": number(n.e)}
        elif alg == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            n = self.private.public_key().public_numbers()
            self.public = {"kty": "EC", "crv": "P-256", "x": number(n.x, 32), "y": number(n.y, 32)}
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
            raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            self.public = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        self.public.update(kid=kid, alg=alg, use="sig")


class Provider:
    """Who is "at the provider" is self.person; what a token says is that and self.say. Codes are for one use."""

    def __init__(self):
        self.keys, self.person, self.say = [Key("k1", "RS256")], {"sub": "u-1"}, {}
        self.codes, self.calls, self.id_token = {}, [], None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.issuer = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(provider):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, doc):
                body = json.dumps(doc).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                provider.calls.append(self.path)
                if self.path == "/.well-known/openid-configuration":
                    i = provider.issuer
                    self.answer(200, {"issuer": provider.say.get("issuer", i), "authorization_endpoint": i + "/authorize",
                                      "token_endpoint": i + "/token", "jwks_uri": i + "/keys"})
                elif self.path == "/keys":
                    self.answer(200, {"keys": [k.public for k in provider.keys]})
                else:
                    self.answer(404, {})

            def do_POST(self):
                form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
                provider.calls.append(self.path)
                self.answer(*provider.token(form))
        return Handler

    def authorize(self, url):
        """What a person does there; returns code and state as the browser brings them back."""
        q = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(self.issuer + "/authorize?") and q["response_type"] == "code" and q["scope"] == "openid email profile"
        assert q["code_challenge_method"] == "S256" and len(q["nonce"]) == 43 and len(q["state"]) == 43
        code = "code-%d" % len(self.codes)
        self.codes[code] = q
        return {"code": code, "state": q["state"]}

    def token(self, form):
        q = self.codes.pop(form.get("code"), None)
        good = (q and form["grant_type"] == "authorization_code" and form["redirect_uri"] == q["redirect_uri"]
                and form["client_id"] == "client" and form["client_secret"] == "a secret+&="
                and b64(hashlib.sha256(form["code_verifier"].encode()).digest()) == q["code_challenge"])
        if not good:
            return 400, {"error": "invalid_grant"}
        now, key = int(time.time()), self.keys[-1]
        claims = {"iss": self.issuer, "aud": "client", "iat": now, "exp": now + 300, "nonce": q["nonce"],
                  "email": "ada@example.org", "email_verified": True, "name": "Ada", **self.person, **self.say}
        self.id_token = jwt.encode({k: v for k, v in claims.items() if v is not None}, key.private, key.alg, {"kid": key.kid})
        return 200, {"id_token": self.id_token, "access_token": "theirs", "token_type": "Bearer"}


@pytest.fixture
def provider():
    p = Provider()
    yield p
    p.server.shutdown()
    p.server.server_close()


@pytest.fixture
def sso(make_server, provider):
    return make_server({"auth": AUTH, "oauth": {
        "oidc": {"issuer": provider.issuer, "client_id": "client", "client_secret": "a secret+&="}}})


def start(s, browser, query=""):
    r = browser.get(s.url + "/api/auth/oauth/oidc" + query, allow_redirects=False)
    assert r.status_code == 302 and "no-store" in r.headers["cache-control"], r.text
    return r.headers["location"]


def come_back(s, browser, answer):
    r = browser.get(s.url + "/api/auth/oauth/oidc/callback?" + urlencode(answer), allow_redirects=False)
    assert r.status_code == 302 and "no-store" in r.headers["cache-control"], r.text
    return r.headers["location"]


def sign_in(s, provider, browser=None, query=""):
    browser = browser or requests.Session()
    return come_back(s, browser, provider.authorize(start(s, browser, query)))


def link(s, token):
    """Where to go to link an account, and the browser that goes."""
    browser = requests.Session()
    r = browser.post(s.url + "/api/auth/oauth/link", json={"provider": "oidc"}, headers=bearer(token))
    assert r.status_code == 200, r.text
    return r.json()["auth_url"], browser


def fragment(url, page=BACK):
    assert url.startswith(page + "#"), url
    return {k: v[0] for k, v in parse_qs(urlsplit(url).fragment).items()}


def failed(url):
    assert url.startswith(ERROR + "?error="), url
    return url[len(ERROR + "?error="):]


def test_first_login_makes_an_account_the_next_finds_it(sso, provider):
    s = sso
    got = fragment(sign_in(s, provider))
    assert got["token_type"] == "Bearer" and got["refresh_token"] and int(got["expires_in"]) > 0
    who = me(s, got["access_token"]).json()
    assert who["email"] == "ada@example.org" and who["email_verified"] and who["name"] == "Ada" and who["role"] == "owner"
    again = me(s, fragment(sign_in(s, provider))["access_token"]).json()
    assert again["id"] == who["id"]
    # Known by the subject, whatever the address is now.
    provider.person = {"sub": "u-1", "email": "countess@example.org"}
    assert me(s, fragment(sign_in(s, provider))["access_token"]).json()["id"] == who["id"]
    linked = call(s, got["access_token"], "/api/user/oauth-providers", method="GET")["providers"]
    assert [p["provider"] for p in linked] == ["oidc"]
    assert provider.calls.count("/keys") <= 2 and provider.calls.count("/.well-known/openid-configuration") <= 2, "remembered"
    login(s, status=401)  # there is no password
    log = s.log() + s.access_path.read_text()
    assert provider.id_token not in log and "a secret+" not in log and got["access_token"] not in log
    assert not s.sql("SELECT id FROM oauth_states")


def test_other_algorithms_and_new_keys(sso, provider, make_server):
    s = sso
    fragment(sign_in(s, provider))
    for alg in ("ES256", "EdDSA"):
        # Every worker has read the keys lately and does not look again at once: a restart stands for time that passes.
        provider.keys.append(Key("k-" + alg, alg))
        s.stop()
        s.start()
        fragment(sign_in(s, provider))


NOT_FOR_US = [{"iss": "https://evil.example"}, {"aud": "another"}, {"nonce": "x" * 43}, {"nonce": None}, {"exp": 1},
              {"sub": None}, {"aud": ["client", "another"]}]


def test_tokens_that_are_not_for_us(sso, provider):
    for say in NOT_FOR_US:
        provider.say = say
        assert failed(sign_in(sso, provider)) == "login_failed", say
    assert not sso.sql("SELECT id FROM users")


def test_a_signature_of_somebody_else(sso, provider):
    fragment(sign_in(sso, provider))
    stranger = Key("k1", "RS256")
    provider.keys, published = [stranger], provider.keys
    stranger.public = published[0].public
    assert failed(sign_in(sso, provider)) == "login_failed"


def test_state_is_for_one_browser_and_one_use(sso, provider):
    s = sso
    browser = requests.Session()
    answer = provider.authorize(start(s, browser))
    # Somebody else's browser is sent to our end of the login.
    assert failed(come_back(s, requests.Session(), answer)) == "invalid_state"
    assert failed(come_back(s, browser, {**answer, "state": "A" * 43})) == "invalid_state"
    assert failed(come_back(s, browser, {"code": answer["code"]})) == "invalid_state"
    fragment(come_back(s, browser, answer))
    assert failed(come_back(s, browser, answer)) == "invalid_state"
    # At the same moment.
    r = s.get("/api/auth/oauth/url?provider=oidc").json()
    answer = provider.authorize(r["auth_url"])
    assert r["state"] == answer["state"] and r["url"] == r["auth_url"] and r["provider"] == "oidc"
    with ThreadPoolExecutor(6) as pool:
        got = [x.status_code for x in pool.map(
            lambda _: s.post("/api/auth/oauth/callback", {"provider": "oidc", **answer}), range(6))]
    assert got.count(200) == 1 and got.count(400) == 5, got
    # Too late.
    answer = provider.authorize(s.get("/api/auth/oauth/url?provider=oidc").json()["url"])
    s.sql("UPDATE oauth_states SET expires_at = 1")
    r = s.post("/api/auth/oauth/callback", {"provider": "oidc", **answer})
    assert r.status_code == 400 and r.json()["field"] == "state"


def test_refusals_and_outages(sso, provider):
    s = sso
    browser = requests.Session()
    answer = provider.authorize(start(s, browser))
    assert failed(come_back(s, browser, {"error": "access_denied", "state": answer["state"]})) == "access_denied"
    answer = provider.authorize(start(s, browser))
    assert failed(come_back(s, browser, {**answer, "code": "made-up"})) == "login_failed"
    assert s.get("/api/auth/oauth/google").status_code == 503 and s.get("/api/auth/oauth/github").status_code == 503
    assert s.get("/api/auth/oauth/nobody").status_code == 404
    offered = {p["id"]: p["enabled"] for p in s.get("/api/auth/oauth/providers").json()["providers"]}
    assert offered == {"google": False, "oidc": True}


def test_where_a_login_may_lead(sso, provider):
    for url in ("http://localhost:3000/after", "https://app.localhost/x?y=1", "http://127.0.0.1:9/"):
        fragment(sign_in(sso, provider, None, "?" + urlencode({"redirect_url": url})), url)
    for url in ("https://evil.example/", "https://localhost.evil.example/", "https://evillocalhost/", "https://localhost@evil.example/",
                "https://evil.example\\@localhost/", "javascript:alert(1)//localhost", "//localhost/", "http://app.localhost/",
                "https://localhost%2eevil.example/", "https://localhost/#x", "https://localhost/\r\nX: y", "https:///localhost"):
        r = requests.get(sso.url + "/api/auth/oauth/oidc", params={"redirect_url": url}, allow_redirects=False)
        assert r.status_code == 400 and r.json()["field"] == "redirect_url", url


def test_an_address_alone_opens_nothing(sso, provider):
    s = sso
    made = register(s)
    provider.say = {"email_verified": False}
    assert failed(sign_in(s, provider)) == "email_not_verified"
    provider.say = {"email_verified": None}
    assert failed(sign_in(s, provider)) == "email_not_verified"
    # The provider vouches for it; but whoever registered here never did: that password goes, and its sessions.
    provider.say = {}
    got = fragment(sign_in(s, provider))
    assert me(s, got["access_token"]).json()["id"] == made["user"]["id"]
    refused_everywhere(s, made["access_token"])
    login(s, status=401)


def test_who_registered_early_keeps_nothing(sso, provider):
    """An account made with somebody's address before its owner came: nothing that its maker set up opens it later."""
    s = sso
    made = register(s)["access_token"]
    key = call(s, made, "/api/auth/api-keys", {"name": "mine"}, status=200)["key"]
    url, maker = link(s, made)
    provider.person = {"sub": "maker", "email": "maker@example.org"}
    assert fragment(come_back(s, maker, provider.authorize(url))) == {"linked": "true", "provider": "oidc"}
    enable(s, made)
    provider.person = {"sub": "owner", "email": "ada@example.org"}
    got = fragment(sign_in(s, provider))
    assert "access_token" in got, "no second factor but the owner's"
    refused_everywhere(s, key)
    provider.person = {"sub": "maker", "email": "maker@example.org"}
    other = me(s, fragment(sign_in(s, provider))["access_token"]).json()
    assert other["id"] != me(s, got["access_token"]).json()["id"]


def test_linking_is_ended_by_who_began(sso, provider):
    s = sso
    url, mine = link(s, register(s)["access_token"])
    provider.person = {"sub": "victim", "email": "victim@example.org"}
    answer = provider.authorize(url)
    # The link was sent to somebody else, whose account would now open to them what is the sender's.
    assert failed(come_back(s, requests.Session(), answer)) == "invalid_state"
    r = s.post("/api/auth/oauth/callback", {"provider": "oidc", **answer})
    assert r.status_code == 400 and r.json()["field"] == "state"
    victim = register(s, "victim@example.org", organization="V")["access_token"]
    assert s.post("/api/auth/oauth/callback", {"provider": "oidc", **answer}, headers=bearer(victim)).status_code == 400
    assert fragment(come_back(s, mine, answer)) == {"linked": "true", "provider": "oidc"}
    # A page's login does not end in a browser that did not begin it, either.
    answer = provider.authorize(s.get("/api/auth/oauth/url?provider=oidc").json()["url"])
    assert failed(come_back(s, requests.Session(), answer)) == "invalid_state"


def test_a_confirmed_account_keeps_its_password(sso, provider):
    s = sso
    made = register(s)
    s.sql("UPDATE users SET email_verified = 1")
    got = fragment(sign_in(s, provider))
    assert me(s, got["access_token"]).json()["id"] == made["user"]["id"]
    login(s)
    # Linked twice, unlinked once, and never the last way in.
    call(s, got["access_token"], "/api/auth/oauth/unlink", {"provider": "oidc"})
    call(s, got["access_token"], "/api/auth/oauth/unlink", {"provider": "oidc"}, status=404)
    url, browser = link(s, got["access_token"])
    provider.person = {"sub": "elsewhere", "email": "other@example.org"}
    back = fragment(come_back(s, browser, provider.authorize(url)))
    assert back == {"linked": "true", "provider": "oidc"}
    assert me(s, fragment(sign_in(s, provider))["access_token"]).json()["id"] == made["user"]["id"]
    s.sql("UPDATE users SET password_hash = ''")
    call(s, got["access_token"], "/api/auth/oauth/unlink", {"provider": "oidc"}, status=400)
    # What is linked to one account is not linked to another.
    other = register(s, "bob@example.org", organization="B")["access_token"]
    url, browser = link(s, other)
    assert failed(come_back(s, browser, provider.authorize(url))) == "already_linked"


def test_the_second_factor_is_still_asked(sso, provider):
    s = sso
    token = register(s)["access_token"]
    s.sql("UPDATE users SET email_verified = 1")
    secret, _ = enable(s, token)
    forget_step(s)
    got = fragment(sign_in(s, provider))
    assert got["mfa_required"] == "true" and "access_token" not in got
    assert verify(s, got["pending_token"], totp(secret))["user"]["email"] == "ada@example.org"


def test_closed_registration_and_many_logins(make_server, provider):
    s = make_server({"auth": {**AUTH, "registration": "off"}, "oauth": {
        "max_states": 3, "oidc": {"issuer": provider.issuer, "client_id": "client", "client_secret": "a secret+&="}}})
    assert failed(sign_in(s, provider)) == "registration_closed"
    assert [s.get("/api/auth/oauth/url?provider=oidc").status_code for _ in range(4)] == [200] * 3 + [503]


def test_google_is_where_it_is(make_server):
    s = make_server({"auth": AUTH}, env={"GOOGLE_OAUTH_CLIENT_ID": "g-1", "GOOGLE_OAUTH_CLIENT_SECRET": "g-2"})
    r = requests.get(s.url + "/api/v1/auth/oauth/google", allow_redirects=False)
    q = parse_qs(urlsplit(r.headers["location"]).query)
    assert r.status_code == 302 and r.headers["location"].startswith("https://accounts.google.com/o/oauth2/v2/auth?")
    assert q["client_id"] == ["g-1"] and q["access_type"] == ["offline"] and q["prompt"] == ["consent"]
    assert q["redirect_uri"] == ["http://localhost:8080/api/auth/oauth/google/callback"] and "g-2" not in r.headers["location"]
