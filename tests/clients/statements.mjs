// A program around the SQLite that is built into a Node package: runs the statements of standard
// input, a JSON list, as one transaction on the file of the first argument, and goes on behind one
// that a constraint refuses.
import { readFileSync } from 'node:fs'
import { DatabaseSync } from '@photostructure/sqlite'

const SQLITE_CONSTRAINT = 19
const db = new DatabaseSync(process.argv[2])
db.exec('PRAGMA busy_timeout = 30000; BEGIN IMMEDIATE')
for (const statement of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    db.exec(statement)
  } catch (error) {
    if ((error.sqliteCode & 0xff) !== SQLITE_CONSTRAINT) throw error
  }
}
db.exec('COMMIT')
db.close()
