#!/usr/bin/env python3
"""Asks every view in the tools that analysts use, and compares what they say with Python's own sqlite3.

Run by hand, from the repository's root; the databases are made by two tests:

    python3 -m venv /tmp/tools && /tmp/tools/bin/pip install duckdb==1.5.5 duckdb-extension-sqlite-scanner datasette
    rm -f /tmp/example.db /tmp/shapes.db
    SEGSYNC_EXAMPLE=/tmp/example.db cargo test --test suite analysts::
    SEGSYNC_SHAPES=/tmp/shapes.db cargo test --test suite every_type_of_json
    /tmp/tools/bin/python tests/tools/views.py /tmp/example.db /tmp/shapes.db

A tool must give the same rows, or (DuckDB only) an error; never other rows, and never none. DuckDB's `sqlite_scan` must be
right with types where the documents are of the documented types, and always right with `sqlite_all_varchar`. The DuckDB
blocks of docs/analysts.md are run on the first database. A tool that is not there is said aloud and makes the run fail.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter

# `freshness.age_seconds` counts on while the tools are asked.
WITHOUT = {"freshness": ["age_seconds"]}
failures = []


def say(ok, text):
    print(("ok    " if ok else "WRONG ") + text)
    if not ok:
        failures.append(text)


def columns(db, view):
    names = [row[0] for row in db.execute(f"SELECT * FROM {view} LIMIT 0").description]
    return [name for name in names if name not in WITHOUT.get(view, [])]


def listed(names):
    return ", ".join(f'"{name}"' for name in names)


def bag(rows, kind=lambda cell: cell):
    return Counter(tuple(None if cell is None else kind(cell) for cell in row) for row in rows)


def compare(tool, view, found, expected):
    total = sum(expected.values())
    ok = found == expected
    say(ok, f"{tool}: {view}, {total} rows")
    if not ok:
        print("   missing", list((expected - found).items())[:2])
        print("   surplus", list((found - expected).items())[:2])


def program(file, expected):
    if not shutil.which("sqlite3"):
        return say(False, "sqlite3: NOT TRIED, there is no such program")
    version = subprocess.run(["sqlite3", "--version"], capture_output=True, text=True).stdout.split()[0]
    for view, (names, rows) in expected.items():
        sql = f"SELECT {listed(names)} FROM {view}"
        ran = subprocess.run(
            ["sqlite3", "-batch", "-init", "/dev/null", "-readonly", "-json", file, sql], capture_output=True, text=True
        )
        if ran.returncode or ran.stderr:
            say(False, f"sqlite3 {version}: {view}: {ran.stderr[:300]}")
            continue
        found = [tuple(row[name] for name in names) for row in json.loads(ran.stdout or "[]")]
        compare(f"sqlite3 {version}", view, bag(found), bag(rows))


def datasette(file, expected):
    beside = os.path.join(os.path.dirname(sys.executable), "datasette")
    tool = beside if os.path.exists(beside) else shutil.which("datasette")
    if not tool:
        return say(False, "datasette: NOT TRIED, there is no such program")
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "segments.db")
        shutil.copy(file, copy)
        for view, (names, rows) in expected.items():
            # Its own page of the view, and the rows by SQL: a page has at most so many.
            for path in [f"/segments/{view}.json?_size=5&_shape=arrays", f"/segments.json?_shape=arrays&sql=select+{'%2C'.join(names)}+from+{view}"]:
                command = [tool, "serve", "-i", copy, "--get", path]
                command += ["--setting", "max_returned_rows", "1000000", "--setting", "sql_time_limit_ms", "60000"]
                ran = subprocess.run(command, capture_output=True, text=True)
                try:
                    found = json.loads(ran.stdout)["rows"]
                except (ValueError, KeyError):
                    say(False, f"datasette: {path}: {(ran.stdout + ran.stderr)[-300:]}")
                    continue
                if "sql=" in path:
                    compare("datasette", view, bag(found), bag(rows))
                else:
                    say(len(found) == min(5, len(rows)), f"datasette: the page of {view}")


def duckdb_with_sqlite():
    """DuckDB with the extension that its package on PyPI brings, or one that is installed already."""
    import duckdb

    db = duckdb.connect()
    try:
        import duckdb_extension_sqlite_scanner as package

        version = db.execute("SELECT version()").fetchone()[0]
        file = os.path.join(os.path.dirname(package.__file__), "extensions", version, "sqlite_scanner.duckdb_extension")
        db.execute(f"LOAD '{file}'")
    except ImportError:
        db.execute("LOAD sqlite")
    return db


def duck(file, expected, as_documented):
    try:
        db = duckdb_with_sqlite()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting
        return say(False, f"DuckDB: NOT TRIED, {error}")
    for view, (names, rows) in expected.items():
        scan = f"FROM sqlite_scan('{file}', '{view}')"
        types = db.execute(f"DESCRIBE SELECT * {scan}").fetchall()
        say(not any(row[1] == "BLOB" for row in types), f"DuckDB: each column of {view} has a type")
        try:
            compare("DuckDB sqlite_scan", view, bag(db.execute(f"SELECT {listed(names)} {scan}").fetchall()), bag(rows))
        except Exception as error:  # noqa: BLE001
            say(not as_documented and "Mismatch" in str(error), f"DuckDB sqlite_scan: {view} is refused: {str(error)[:90]}")
        db.execute("SET sqlite_all_varchar = true")
        found = db.execute(f"SELECT {listed(names)} {scan}").fetchall()
        compare("DuckDB sqlite_scan as text", view, bag(found, str), bag(rows, str))
        db.execute("SET sqlite_all_varchar = false")

    db.execute(f"ATTACH '{file}' AS s (TYPE sqlite, READ_ONLY)")
    for view, (names, rows) in expected.items():
        try:
            found = db.execute(f"SELECT {listed(names)} FROM s.{view}").fetchall()
        except Exception as error:  # noqa: BLE001
            say(True, f"DuckDB ATTACH: {view} is refused: {str(error)[:60]}")
            continue
        compare("DuckDB ATTACH", view, bag(found, str), bag(rows, str))
    for view, (names, rows) in expected.items():
        asked = f"SELECT {listed(names)} FROM {view}"
        found = db.execute(f"SELECT * FROM sqlite_query('s', '{asked}')").fetchall()
        compare("DuckDB sqlite_query", view, bag(found, str), bag(rows, str))


def cookbook(file):
    """Runs the DuckDB blocks of the page beside a copy of the database."""
    page = open("docs/analysts.md", encoding="utf-8").read()
    blocks = re.findall(r"\n```sql duckdb\n(.*?)```", page, re.S)
    say(len(blocks) >= 2, f"cookbook: {len(blocks)} blocks for DuckDB")
    home = os.getcwd()
    db = duckdb_with_sqlite()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(file, os.path.join(folder, "segments.db"))
        os.chdir(folder)
        try:
            for block in blocks:
                for statement in filter(str.strip, block.split(";")):
                    if statement.strip() in ("INSTALL sqlite", "LOAD sqlite"):
                        continue  # loaded from its package above
                    rows = db.execute(statement).fetchall()
                    say(bool(rows), f"cookbook: {statement.strip()[:70]}… {rows[:3]}")
            copied = db.execute("SELECT count(*) FROM 'changes.parquet'").fetchone()[0]
            there = sqlite3.connect("segments.db").execute("SELECT count(*) FROM change_log").fetchone()[0]
            say(copied == there > 0, f"cookbook: {copied} rows of {there} in changes.parquet")
        finally:
            os.chdir(home)


def main(files):
    if not files:
        sys.exit(__doc__)
    for number, file in enumerate(files):
        db = sqlite3.connect(f"file:{os.path.abspath(file)}?mode=ro", uri=True)
        views = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")]
        expected = {view: (names := columns(db, view), db.execute(f"SELECT {listed(names)} FROM {view}").fetchall()) for view in views}
        counts = ", ".join(f"{view} {len(rows)}" for view, (_, rows) in expected.items())
        print(f"\n== {file}: Python's sqlite3 {sqlite3.sqlite_version} finds {counts}")
        program(file, expected)
        datasette(file, expected)
        duck(file, expected, as_documented=number == 0)
    print("\n== docs/analysts.md")
    cookbook(files[0])
    print(f"\n{len(failures)} wrong")
    sys.exit(1 if failures else 0)


main(sys.argv[1:])
