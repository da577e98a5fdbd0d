// A Yjs document in a replica: every update is a row of its own, and rows are never changed, so two
// devices that write offline cannot conflict: Yjs merges their updates in any order.
//
//     node yjs.mjs ./tombolo.so http://127.0.0.1:3000 app.db DOC 'text to add'
import { randomUUID } from 'node:crypto'
import * as Y from 'yjs'
const { DatabaseSync } = await import('node:sqlite').catch(() => import('@photostructure/sqlite'))

const [extension, url, path, id, text] = process.argv.slice(2)
const db = new DatabaseSync(path, { allowExtension: true })
db.enableLoadExtension(true)
db.loadExtension(extension)
const sync = () => db.prepare('SELECT tombolo_sync(?, ?)').get(url, `doc_updates where doc = '${id}'`)

// The document is all of its updates together.
function load() {
  const doc = new Y.Doc()
  for (const { data } of db.prepare('SELECT data FROM doc_updates WHERE doc = ?').all(id)) Y.applyUpdate(doc, data)
  return doc
}

// Many small updates become one, as one transaction that is accepted or refused whole. Only what
// this device has read is replaced, so what others add meanwhile stays.
function compact() {
  const rows = db.prepare('SELECT id, data FROM doc_updates WHERE doc = ?').all(id)
  db.exec('BEGIN IMMEDIATE; INSERT INTO _tombolo_tx DEFAULT VALUES')
  db.prepare('INSERT INTO doc_updates(id, doc, data) VALUES (?, ?, ?)')
    .run(randomUUID(), id, Y.mergeUpdates(rows.map((row) => row.data)))
  const drop = db.prepare('DELETE FROM doc_updates WHERE id = ?')
  for (const row of rows) drop.run(row.id)
  db.exec('DELETE FROM _tombolo_tx; COMMIT')
}

sync()
const doc = load()
doc.on('update', (data) =>
  db.prepare('INSERT INTO doc_updates(id, doc, data) VALUES (?, ?, ?)').run(randomUUID(), id, data))
doc.getText('body').insert(0, text)
sync()
console.log(load().getText('body').toString())
if (db.prepare('SELECT count(*) AS n FROM doc_updates WHERE doc = ?').get(id).n > 10) {
  compact()
  sync()
}
db.close()
