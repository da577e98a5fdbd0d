"""Random work in Postgres, and what exactly every replica must hold at every position.

    tables    the tables, and the triggers that write down every row that came or went
    clauses   random shapes of them
    writers   random transactions from several connections
    history   which rows a shape had at a position: the triggers' notes, dated by commit LSN
    values    Postgres's texts as SQLite is to hold them
    watchers  a file read again and again while replication runs, and a /v1/sync stream
    http_readers   clients of /v1/shape
    chaos     kill -9, cut connections
    fanout    the same through Kafka: a publisher, two nodes, and their troubles
    local     programs that write to replicas' files, and who watches them (test_writers.py)
    world     all of it together: World(seed) does batches and checks them

How a check is exact. Each row trigger notes the row with a sign, +1 or -1, and its transaction's
id. A slot of our own (pgoutput, one small table) tells each transaction's commit LSN. So the
rows of a shape at position P are the sum of the notes of the transactions committed up to P for
which the clause is true: evaluated by Postgres, and in no way by the program under test. What a
reader saw in one SQLite read transaction, or a stream held at a commit line, is compared with that
at its position: every shape of a replica at one LSN.
"""

from .world import World

__all__ = ["World"]
