# SPDX-License-Identifier: MIT
"""No statement reads the whole of a table that grows: every statement of the sources is explained by both stores.

The statements are the string literals of the preprocessed sources, so that a new one is looked at without anybody
thinking of it. Those that are put together while the server runs ("%s") are not among them.
"""
import re
import sqlite3
import subprocess

import psycopg2
import pytest

from conftest import ROOT

# They hold a few rows for each node, agent, endpoint or tenant, or what waits for a moment.
SMALL = {"settings", "jobs", "processes", "schema_migrations", "delivery_endpoints", "ratings", "organizations", "workspaces",
         "audit_head", "decision_cache_nodes", "audit_anchors", "audit_inbox", "identity_changes", "commit_marks", "touched", "delegations"}
# Indexes that hold only what is open or waits for a person: all of it may be read.
PARTIAL = {"deliveries_in_flight", "deliveries_due", "deliveries_dead", "debates_open", "debates_waiting", "debates_turn", "batches_open",
           "continuum_memory_embedded"}
# Who may read all of a table, and why.
ALLOWED = [
    ("worker/invariants.c", "", "aragorad db check looks at everything"),
    ("worker/delivery/api.c", "SELECT COUNT(*), COUNT(CASE", "statistics over all deliveries of a workspace"),
    ("worker/debate/store.c", "DELETE FROM idempotency_keys WHERE object_id", "deletion of a debate; the keys of one day"),
    ("worker/audit/check.c", "", "aragorad audit verify looks at everything"),
    ("worker/audit/seal.c", "LIMIT 1", "one row"),
    ("worker/access/impersonation.c", "INSERT INTO impersonations", "a limit on all of them"),
    ("worker/identity/auth_api.c", "revoked_tokens WHERE user_id", "what a person has revoked and would not have ended yet"),
    ("worker/identity/setup.c", "SELECT COUNT(*) FROM users", "once at the start"),
    ("worker/system/stats.c", "", "figures of the whole service, asked for by its operator"),
    ("worker/search/fulltext.c", "_search_text MATCH", "the index itself, which goes by its words"),
    ("worker/tenancy/admin_users.c", "", "the operator's lists of all accounts"),
    ("worker/decisions/cache.c", "SELECT COUNT(*) FROM decision_cache", "at most decisions.cache_entries of each workspace"),
    ("worker/retention/rules.c", "usage_ledger", "once a day; another index would cost every step"),
]
# Of tools that work on tables of their own, which no server has.
# _knowledge_vectors and the other copy: there is none without pgvector.
ELSEWHERE = re.compile(r"\b_(backup_info|backup_tables|export|knowledge_vectors|continuum_vectors)\b|\bpg_|\bpragma_|\bsqlite_schema\b|information_schema")
# Statements that are asked often and must not read what is over: by which index.
BY_INDEX = [("worker/batch/store.c", "'graph') AND open = 1", "batches_under_way")]
LITERALS = re.compile(r'(?:"(?:[^"\\\n]|\\.)*"\s*)+')
STATEMENT = re.compile(r"(?:/\*.*?\*/ )?(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) .*\b(FROM|VALUES|SET) \S", re.S)


@pytest.fixture(scope="module")
def statements():
    """{statement: file}"""
    found = {}
    for path in sorted([*(ROOT / "worker").rglob("*.c"), *(ROOT / "common").glob("*.c")]):
        if not re.search(r'"[^"\n]*\b(SELECT|INSERT INTO|UPDATE|DELETE FROM) ', path.read_text()):
            continue
        text = subprocess.run(["gcc", "-E", "-P", "-std=c11", "-D_GNU_SOURCE", '-DARAGORA_VERSION="0"', "-I.", str(path)],
                              cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for m in LITERALS.finditer(text):
            sql = "".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', m.group())).replace('\\"', '"').replace("\\\\", "\\")
            if text[:m.start()].endswith("buf_addz(&sql, "):
                continue  # the beginning of one that is put together
            if STATEMENT.match(sql) and not re.search(r"%[sl]", sql) and not ELSEWHERE.search(sql):
                found.setdefault(sql, str(path.relative_to(ROOT)))
    assert len(found) > 100
    return found


def parameters(sql):
    return max([0] + [int(n) for n in re.findall(r"\$(\d+)", sql)])


def table_of(sql, name):
    """What the plan calls `name`: a table, a table's alias, or None for a part of the statement."""
    m = re.search(r"(?:FROM|JOIN|UPDATE|INTO) (\w+)(?: AS)? %s\b" % name, sql)
    if m and m.group(1) not in ("SELECT", "VALUES"):
        return m.group(1)
    return name if re.search(r"(?:FROM|JOIN|UPDATE|INTO) %s\b" % name, sql) else None


def too_much(scans, statements):
    """The statements with a scan of a big table; [(statement, table, index)] in, those that nobody allows out."""
    bad = []
    for sql, name, index in scans:
        table, path = table_of(sql, name), statements[sql]
        if table is None or table in SMALL or index in PARTIAL:
            continue
        if not any(path == where and what in sql for where, what, _ in ALLOWED):
            bad.append("%s reads all of %s: %s" % (path, table, sql))
    return bad


def test_sqlite(make_server, statements):
    s = make_server({"storage": {"backend": "sqlite"}})
    s.stop()
    db, scans, used = sqlite3.connect(s.data_dir / "aragora.db"), [], set()
    for sql, path in statements.items():
        if path.startswith("common/db_pg") or "to_tsquery" in sql:
            continue
        for row in db.execute("EXPLAIN QUERY PLAN " + sql, [None] * parameters(sql)):
            used |= {(*want[:2], want[2] in row[3]) for want in BY_INDEX if path == want[0] and want[1] in sql}
            if m := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", row[3]):
                scans.append((sql, m.group(1), m.group(2)))
    assert used == {(path, what, True) for path, what, _ in BY_INDEX}
    assert not (bad := too_much(scans, statements)), "\n".join(bad)


def test_postgresql(postgres, make_server, statements):
    database = postgres.create()
    make_server({"storage": {"dsn": postgres.dsn(database)}}).stop()
    db = postgres.connect(database)
    c, scans = db.cursor(), []
    # Tables of a test are small: a scan is what remains where no index fits.
    c.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    for sql, path in statements.items():
        if path.startswith("common/db_sqlite") or path.startswith("common/db_pg") or "_search_text" in sql:
            continue
        n = parameters(sql)
        try:
            c.execute("PREPARE p AS " + sql)
        except psycopg2.Error:  # `$1 + $2` leaves their types open, as the server never does
            c.execute("PREPARE p (%s) AS " % ", ".join(["BIGINT" if re.search(r"\$%d [-+*]|[-+*] \$%d\b" % (i, i), sql) else
                                                       "unknown" for i in range(1, n + 1)]) + sql)
        c.execute("EXPLAIN EXECUTE p" + ("(%s)" % ", ".join(["NULL"] * n) if n else ""))
        for (line,) in c.fetchall():
            if m := re.search(r"Seq Scan on (\w+)(?: (\w+))?", line):
                scans.append((sql, m.group(2) or m.group(1), None))
        c.execute("DEALLOCATE p")
    db.close()
    assert not (bad := too_much(scans, statements)), "\n".join(bad)
