# SPDX-License-Identifier: MIT
"""The store of a server, read and changed behind its back: SQLite's file or the PostgreSQL database it was given."""
import sqlite3

import psycopg2

from conftest import merged, on_postgres


def execute(server, *statements):
    """Runs statements in one transaction; the rows of the last one, if it has any."""
    dsn = server.config["storage"].get("dsn")
    db = psycopg2.connect(dsn) if dsn else sqlite3.connect(server.data_dir / "aragora.db", timeout=10)
    try:
        cursor = db.cursor()
        for statement in statements:
            cursor.execute(statement)
        found = cursor.fetchall() if cursor.description else []
        db.commit()
        return [tuple(row) for row in found]
    finally:
        db.close()


def on_store(config, request):
    """The configuration with a database of its own where tests run on PostgreSQL; for servers made by hand."""
    if not on_postgres():
        return config
    return merged(config, {"storage": {"dsn": request.getfixturevalue("postgres").database()}})
