"""The floor of `segsync import`: a history in SQLite, made with as little as Python needs for it."""

import json
import sqlite3
import sys

source, target = sys.argv[1:]
database = sqlite3.connect(target)
database.execute("CREATE TABLE versions (segment TEXT, observed_at INTEGER, document TEXT)")
last = {}
with open(source, encoding="utf-8") as lines:
    for text in lines:
        line = json.loads(text)
        segment, document = line["id"], line["document"]
        if last.get(segment) != document:
            last[segment] = document
            row = (segment, line["observed_at"], json.dumps(document, sort_keys=True))
            database.execute("INSERT INTO versions VALUES (?, ?, ?)", row)
database.commit()
