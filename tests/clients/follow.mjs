// A program around Electric's own client: follows a shape and says what it sees, a JSON object a
// line. Which shape, and how, is the first argument; what to do meanwhile comes as lines:
//
//     {"do": "snapshot", "id": 1, "params": {...}}    ShapeStream.requestSnapshot()
//     {"do": "snapshots", "id": 4, "each": [{...}]}   several at once; how many rows they had
//     {"do": "rows", "id": 5}                         those that it holds
//     {"do": "refresh", "id": 2}                      forceDisconnectAndRefresh()
//     {"do": "awaitTxId", "id": 3, "txid": 741}       a collection's utils.awaitTxId()
//
// With "use": "shape" it holds the rows as the client's Shape does, and beside it checks each
// message: an insert of a row that is there, or a change of one that is not, is an error. With
// "quiet" it does not say the rows each time that they change. With
// "use": "collection" it is a collection of TanStack DB, filled by its Electric adapter.
import { createInterface } from 'node:readline'
import { Shape, ShapeStream, isChangeMessage, isControlMessage } from '@electric-sql/client'

const config = JSON.parse(process.argv[2])

function say(what) {
  const plain = (_, value) => (typeof value === 'bigint' ? value.toString() : value)
  process.stdout.write(JSON.stringify(what, plain) + '\n')
}

// Every request that the client makes, with what was answered.
async function countingFetch(url, init) {
  const query = Object.fromEntries(new URL(url).searchParams)
  try {
    const response = await fetch(url, init)
    say({ request: { method: init?.method ?? 'GET', query, status: response.status, at: Date.now() } })
    return response
  } catch (error) {
    if (!init?.signal?.aborted) say({ request: { query, failed: String(error) } })
    throw error
  }
}

const shapeOptions = {
  url: config.url,
  params: config.params,
  headers: config.headers,
  offset: config.offset,
  liveSse: config.liveSse ?? false,
  log: config.log,
  subsetMethod: config.subsetMethod,
  fetchClient: countingFetch,
  backoffOptions: { initialDelay: 20, maxDelay: 300, multiplier: 1.5 },
  onError: (error) => {
    say({ error: String(error), status: error.status })
  },
}

class Checker {
  held = new Map()
  last = [0n, -1n]

  // After a stream of events was cut the client resumes behind an LSN: the later operations of
  // that transaction come again, and no other.
  cameAgain({ lsn, op_position }) {
    if (lsn === undefined) return false
    const here = [BigInt(lsn), BigInt(op_position)]
    const again = here[0] < this.last[0] || (here[0] === this.last[0] && here[1] <= this.last[1])
    if (again && (!config.liveSse || here[0] !== this.last[0])) say({ wrong: `${here} came again after ${this.last}` })
    if (!again) this.last = here
    return again
  }

  take(message) {
    if (isControlMessage(message)) {
      const { control } = message.headers
      say({ control })
      if (control === 'must-refetch') {
        this.held.clear()
        this.last = [0n, -1n]
      }
      return
    }
    if (!isChangeMessage(message) || this.cameAgain(message.headers)) return
    const { operation } = message.headers
    const there = this.held.has(message.key)
    // changes_only: rows come by snapshots, changes of others are passed on too.
    if (config.log !== 'changes_only' && there === (operation === 'insert'))
      say({ wrong: `${operation} of ${message.key}, which is ${there ? '' : 'not '}there` })
    if (operation === 'delete') this.held.delete(message.key)
    else this.held.set(message.key, { ...this.held.get(message.key), ...message.value })
    if (config.messages) say({ message })
  }
}

function followShape() {
  const stream = new ShapeStream(shapeOptions)
  const checker = new Checker()
  stream.subscribe((messages) => messages.forEach((message) => checker.take(message)))
  const shape = new Shape(stream)
  if (!config.quiet)
    shape.subscribe(({ rows }) => say({ rows, offset: stream.lastOffset, handle: stream.shapeHandle }))
  return {
    snapshot: ({ params }) => stream.requestSnapshot(params),
    snapshots: async ({ each }) => {
      const found = await Promise.all(each.map((params) => stream.requestSnapshot(params)))
      return found.reduce((sum, { data }) => sum + data.length, 0)
    },
    rows: async () => shape.currentRows,
    fetch: ({ params }) => stream.fetchSnapshot(params),
    refresh: () => stream.forceDisconnectAndRefresh(),
  }
}

async function followCollection() {
  const { createCollection } = await import('@tanstack/db')
  const { electricCollectionOptions } = await import('@tanstack/electric-db-collection')
  const collection = createCollection(
    electricCollectionOptions({ id: 'items', shapeOptions, getKey: (row) => row.id, syncMode: config.syncMode }))
  // TanStack's own members of a row begin with $.
  const plain = (rows) => rows.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => name[0] !== '$')))
  const show = () => say({ rows: plain(collection.toArray), status: collection.status })
  collection.subscribeChanges(show)
  if (config.syncMode !== 'on-demand') await collection.preload()
  show()
  return {
    awaitTxId: ({ txid }) => collection.utils.awaitTxId(txid, 60000),
    query: async ({ below }) => {
      const { createLiveQueryCollection, lt } = await import('@tanstack/db')
      const found = createLiveQueryCollection((q) =>
        q.from({ item: collection }).where(({ item }) => lt(item.n, below)).orderBy(({ item }) => item.id, 'desc'))
      await found.preload()
      return plain(found.toArray)
    },
  }
}

const verbs = config.use === 'collection' ? await followCollection() : followShape()
say({ ready: true })
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  verbs[asked.do](asked).then(
    (result) => say({ done: asked.id, result }),
    (error) => say({ done: asked.id, error: String(error), status: error.status }))
}
process.exit(0)
