/*
 * SQLite's API. In the loadable extension it is that of the program which loaded us: a second copy
 * of SQLite in one process would drop the first one's file locks
 * (https://sqlite.org/howtocorrupt.html, 2.2.1).
 */
#ifndef REPLICA_SQLITE_H
#define REPLICA_SQLITE_H

#ifdef TOMBOLO_EXTENSION
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT3
#else
#include <sqlite3.h>
#endif

#endif
