"""An app in Python: the extension keeps its SQLite file in sync.

    python3 extension.py ./tombolo.so http://127.0.0.1:3000 app.db 'items where owner = 7'
"""

import sqlite3
import sys

extension, url, path, shape = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None)
db.enable_load_extension(True)
db.load_extension(extension)

db.execute("SELECT tombolo_sync(?, ?)", (url, shape))     # first: the tables, with their rows
db.execute("SELECT tombolo_start(?, ?)", (url, shape))    # then in the background
db.execute("INSERT INTO items(id, owner, name) VALUES (200, 7, 'from Python')")
assert db.execute("SELECT tombolo_wait(10000)").fetchone() == (1,), "not in Postgres within 10 s"
for row in db.execute("SELECT id, name FROM items ORDER BY id"):
    print(*row, sep="|")
