#!/usr/bin/env python3
"""Judges every row of `changes` in a segsync database by the stored documents alone: no code of segsync's is used.

    tests/tools/oracle.py FILE.db            any database; Python 3.9 or newer and nothing else
    SEGSYNC_HISTORY=/tmp/history.db cargo test --test suite oracle::      makes one with a long random history

For each version and the one before, the rows are followed from the roots to the leaves. What no row tells must be equal in
both documents; what a row tells must be exactly what is there; each row must be met once; and moves must be the fewest
possible. Then one row in each eighth version is spoilt, which must be found. Exits 1 if any row is wrong or a spoilt one
passes.
"""

import json
import random
import re
import sqlite3
import sys

KEYED = {("rules",): ["id", "baseID", "name"], ("qualifyingQuestions",): ["question"], ("data", "customFields"): ["title"]}
STEP = re.compile(r'\.("(?:[^"\\]|\\.)*"|[^.\[]+)|\[(\d+)\]', re.S)


class Wrong(Exception):
    pass


class Number(str):
    """A number with all its digits; 1 and "1" differ."""

    def __eq__(self, other):
        return isinstance(other, Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


def read(text):
    return json.loads(text, parse_int=Number, parse_float=Number)


def same(a, b):
    """Equality that knows true from 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def holds(text, value):
    return text is not None and same(read(text), value)


def steps(path):
    found, at = [], 1
    while at < len(path):
        match = STEP.match(path, at)
        if not match or not path.startswith("$"):
            raise Wrong(f"no path: {path}")
        key, index = match.groups()
        found.append(int(index) if index is not None else json.loads(key) if key.startswith('"') else key)
        at = match.end()
    return found


def judge(old, new, rows):
    explain(old, new, [(steps(row["path"]), row) for row in rows], ())


def explain(old, new, rows, place):
    if not rows:
        if not same(old, new):
            raise Wrong(f"untold at {place}")
        return
    whole = [row for path, row in rows if not path and row["op"] == "replace"]
    if whole:
        if len(rows) > 1 or same(old, new) or not holds(whole[0]["old"], old) or not holds(whole[0]["new"], new):
            raise Wrong(f"{whole[0]}")
        both = (dict, dict), (list, list)
        if (type(old), type(new)) in both and len(whole[0]["path"]) < 4096:
            raise Wrong(f"replaced as a whole: {whole[0]}")
    elif isinstance(old, dict) and isinstance(new, dict):
        members(old, new, rows, place)
    elif isinstance(old, list) and isinstance(new, list):
        items(old, new, rows, place)
    else:
        raise Wrong(f"inside of what has no inside: {rows[0][1]}")


def members(old, new, rows, place):
    below = {}
    for path, row in rows:
        if not path or not isinstance(path[0], str):
            raise Wrong(f"no member: {row}")
        below.setdefault(path[0], []).append((path[1:], row))
    for key in old.keys() | new.keys():
        inside = below.pop(key, [])
        if key in old and key in new:
            explain(old[key], new[key], inside, place + (key,))
            continue
        op, told, silent, value = ("remove", "old", "new", old.get(key)) if key in old else ("add", "new", "old", new.get(key))
        right = len(inside) == 1 and not inside[0][0] and inside[0][1]["op"] == op
        if not right or not holds(inside[0][1][told], value) or inside[0][1][silent] is not None:
            raise Wrong(f"{op} at {place + (key,)}: {inside}")
    if below:
        raise Wrong(f"no such member: {below}")


def items(old, new, rows, place):
    origin, gone, deeper, moves = {}, set(), [], {}
    for path, row in rows:
        if not path or not isinstance(path[0], int):
            raise Wrong(f"no item: {row}")
        at, op, first = path[0], row["op"], len(path) == 1
        if first and op == "remove":
            ok = at < len(old) and at not in gone and holds(row["old"], old[at]) and row["new"] is None
            gone.add(at)
        elif first and op == "add":
            ok = at < len(new) and at not in origin and holds(row["new"], new[at]) and row["old"] is None
            origin[at] = None
        elif first and op == "move":
            source = int(row["old"]) if (row["old"] or "").isdigit() else len(old)
            ok = source < len(old) and source not in gone and at < len(new) and at not in origin and row["new"] == str(at)
            gone.add(source)
            origin[at] = source
            moves[at] = source
        else:
            ok = True
            deeper.append((path, row))
        if not ok:
            raise Wrong(f"{row}")
    others = iter([at for at in range(len(old)) if at not in gone])
    pairs = []
    for at in range(len(new)):
        source = origin[at] if at in origin else next(others, "nowhere")
        if source == "nowhere":
            raise Wrong(f"item {at} of {place} comes from nowhere")
        if source is None:
            continue
        pairs.append(source)
        mine = [one for one in deeper if one[0][0] == (source if one[1]["op"] == "remove" else at)]
        deeper = [one for one in deeper if not any(one is other for other in mine)]
        explain(old[source], new[at], [(path[1:], row) for path, row in mine], place + (at,))
    if deeper or next(others, None) is not None:
        raise Wrong(f"left over at {place}: {deeper}")
    if len(moves) != len(pairs) - rising(pairs):
        raise Wrong(f"{len(moves)} moves at {place} for {pairs}")
    # Items that have a key stay themselves.
    for key in KEYED.get(place, []):
        names = [[item.get(key) if isinstance(item, dict) else None for item in side] for side in (old, new)]
        if all(all(isinstance(name, str) for name in side) and len(set(map(repr, zip(map(type, side), side)))) == len(side) for side in names):
            placed = {(type(name), str(name)): at for at, name in enumerate(names[0])}
            wanted = [placed[type(name), str(name)] for name in names[1] if (type(name), str(name)) in placed]
            if wanted != pairs:
                raise Wrong(f"items of {place} that {key} does not match")
            return
    if moves:
        raise Wrong(f"moves among items without keys at {place}")


def rising(order):
    lengths = []
    for at, one in enumerate(order):
        lengths.append(1 + max((lengths[before] for before in range(at) if order[before] < one), default=0))
    return max(lengths, default=0)


def spoilt(rows, at):
    yield rows[:at] + rows[at + 1 :]
    yield rows + [rows[at]]
    for name, value in [("old", '"never there"'), ("new", '"never there"'), ("path", "$.elsewhere"), ("path", rows[at]["path"] + ".x")]:
        yield rows[:at] + [{**rows[at], name: value}] + rows[at + 1 :]
    for op in ["add", "remove", "replace", "move"]:
        if op != rows[at]["op"]:
            yield rows[:at] + [{**rows[at], "op": op}] + rows[at + 1 :]


def main(file):
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    dice = random.Random(4)
    versions = changes = wrong = tried = passed = 0
    pairs = db.execute(
        """SELECT n.id, s.key, n.seq, o.document AS old, n.document AS new FROM versions AS n
        JOIN versions AS o ON o.segment_id = n.segment_id AND o.seq = n.seq - 1
        JOIN segments AS s ON s.id = n.segment_id
        WHERE o.document IS NOT NULL AND n.document IS NOT NULL ORDER BY n.id"""
    )
    for pair in pairs.fetchall():
        told = db.execute("SELECT op, path, old, new FROM changes WHERE version_id = ? ORDER BY ordinal", [pair["id"]])
        rows = [dict(row) for row in told]
        old, new = read(pair["old"]), read(pair["new"])
        versions, changes = versions + 1, changes + len(rows)
        try:
            judge(old, new, rows)
        except Wrong as error:
            wrong += 1
            print(f"WRONG {pair['key']} v{pair['seq']}: {error}")
            continue
        if not rows or pair["seq"] % 8:
            continue
        for other in spoilt(rows, dice.randrange(len(rows))):
            tried += 1
            try:
                judge(old, new, other)
                passed += 1
                print(f"NOT FOUND {pair['key']} v{pair['seq']}: {other}")
            except Wrong:
                pass
    print(f"{versions} versions, {changes} changes: {wrong} versions wrong; {tried} spoilt, {passed} of them not found")
    sys.exit(1 if wrong or passed or not versions else 0)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
