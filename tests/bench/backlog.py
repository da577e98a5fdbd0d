"""The rows of the table that read a backlog: bulk, single-row transactions, many shapes."""

from consumers import BridgeConsumer, Recvlogical, closing_all
from measure import Figure, Ratio, Row
from workload import database, load


def stream(bench):
    """Rows in transactions of 1000 into one shape's log."""
    rows = bench.size(200_000)
    with database(bench.postgres, "stream") as db:
        one = BridgeConsumer(db, bench.folder, "stream", "bridge, one shape", [{"table": "items"}])
        peer = Recvlogical(bench.postgres, db, "tombolo_stream")
        bridge, ceiling = turns(bench, db, [one, peer], rows, 1000)
    return Row("stream", f"{rows} rows in 1000-row transactions, read as a backlog",
               [bridge, ceiling], [Ratio.of(bridge, ceiling, ">= 0.9"),
                                   Ratio.of_cpu(bridge, "bridge", ceiling, "client")])


def small(bench):
    """Single-row transactions into one shape's log."""
    rows = bench.size(20_000)
    with database(bench.postgres, "small") as db:
        one = BridgeConsumer(db, bench.folder, "small", "bridge, one shape", [{"table": "items"}])
        peer = Recvlogical(bench.postgres, db, "tombolo_small")
        bridge, ceiling = turns(bench, db, [one, peer], rows, 1)
    return Row("small", f"{rows} single-row transactions, read as a backlog",
               [bridge, ceiling], [Ratio.of(bridge, ceiling),
                                   Ratio.of_cpu(bridge, "bridge", ceiling, "client")])


def shapes(bench):
    """The same as stream, each row in one of many shapes."""
    rows, count = bench.size(200_000), bench.shapes
    many = [{"table": "items", "where": f"owner_id = {n}"} for n in range(count)]
    with database(bench.postgres, "shapes") as db:
        one = BridgeConsumer(db, bench.folder, "one", "bridge, one shape", [{"table": "items"}])
        all_ = BridgeConsumer(db, bench.folder, "many", f"bridge, {count} shapes", many)
        peer = Recvlogical(bench.postgres, db, "tombolo_one")
        figures = turns(bench, db, [one, all_, peer], rows, 1000, owners=count)
        seconds = all_.seconds_to_make_shapes
    return Row("shapes", f"{rows} rows in 1000-row transactions, each in one of {count} shapes",
               figures, [Ratio.of(figures[1], figures[0], ">= 0.8"),
                         Ratio.of(figures[1], figures[2])],
               [f"the shapes were made in {seconds:.1f} s, {count / seconds:.0f} a second"])


def turns(bench, db, consumers, rows, a_transaction, owners=50_000, close=True):
    """Each turn: all are held, the WAL is written once, each reads it alone; who is first changes.

    One turn more than asked for, which does not count: it warms everything up. The consumers are
    closed then, or are for other turns too.
    """
    figures = {consumer: Figure(consumer.who, "rows/s") for consumer in consumers}
    with closing_all(consumers if close else []):
        for turn in range(bench.repeat + 1):
            order = consumers[turn % len(consumers):] + consumers[:turn % len(consumers)]
            for consumer in consumers:
                consumer.hold()
            load(db, rows, a_transaction, owners)
            endpos = db.value("SELECT pg_current_wal_insert_lsn()")
            marker = db.value("INSERT INTO marker SELECT count(*) FROM marker RETURNING n")
            for consumer in order:
                seconds, cpu, peak = consumer.consume(marker, endpos)
                if turn:
                    figures[consumer].add(rows / seconds, cpu, peak, units=rows)
                bench.say(f"turn {turn}: {consumer.who} {rows / seconds:.0f} rows/s")
    return list(figures.values())
