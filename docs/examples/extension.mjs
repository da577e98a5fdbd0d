// An app in Node: the extension keeps its SQLite file in sync.
//
//     node extension.mjs ./tombolo.so http://127.0.0.1:3000 app.db 'items where owner = 7'
//
// Node has SQLite built in from 22.5 on; before that the package @photostructure/sqlite is the same.
const { DatabaseSync } = await import('node:sqlite').catch(() => import('@photostructure/sqlite'))

const [extension, url, path, shape] = process.argv.slice(2)
const db = new DatabaseSync(path, { allowExtension: true })
db.exec('PRAGMA busy_timeout = 5000') // a sync writes too: wait for it, as for any other program
db.enableLoadExtension(true)
db.loadExtension(extension)

db.prepare('SELECT tombolo_sync(?, ?)').get(url, shape) // first: the tables, with their rows
db.prepare('SELECT tombolo_start(?, ?)').get(url, shape) // then in the background
db.exec("INSERT INTO items(id, owner, name) VALUES (300, 7, 'from Node')")
const { done } = db.prepare('SELECT tombolo_wait(10000) AS done').get()
if (!done) throw new Error('not in Postgres within 10 s')
for (const { id, name } of db.prepare('SELECT id, name FROM items ORDER BY id').all())
  console.log(`${id}|${name}`)
db.close()
