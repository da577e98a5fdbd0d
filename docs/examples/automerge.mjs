// An Automerge document in a replica: a change is a row, and its hash is the key, so the same change
// that two devices pass on is one row.
//
//     node automerge.mjs ./tombolo.so http://127.0.0.1:3000 app.db DOC 'item to add'
import * as Automerge from '@automerge/automerge'
const { DatabaseSync } = await import('node:sqlite').catch(() => import('@photostructure/sqlite'))

const [extension, url, path, id, item] = process.argv.slice(2)
const db = new DatabaseSync(path, { allowExtension: true })
db.enableLoadExtension(true)
db.loadExtension(extension)
const sync = () => db.prepare('SELECT tombolo_sync(?, ?)').get(url, `doc_changes where doc = '${id}'`)

// Changes name those that they stand on: any order does.
function load() {
  const rows = db.prepare('SELECT data FROM doc_changes WHERE doc = ?').all(id)
  return Automerge.applyChanges(Automerge.init(), rows.map((row) => row.data))[0]
}

function save(data) {
  db.prepare('INSERT INTO doc_changes(hash, doc, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
    .run(Automerge.decodeChange(data).hash, id, data)
}

sync()
const doc = Automerge.change(load(), (draft) => {
  draft.items ??= []
  draft.items.push(item)
})
save(Automerge.getLastLocalChange(doc))
sync()
console.log(JSON.stringify(load().items))
db.close()
