/*
 * An app in C: its SQLite file is kept in sync by a thread of libtombolo, while the app uses
 * SQLite as ever.
 *
 *     cc library.c $(pkg-config --cflags --libs tombolo sqlite3) -o app
 *     ./app http://127.0.0.1:3000 app.db 'items where owner = 7'
 */
#include <sqlite3.h>
#include <stdio.h>
#include <tombolo.h>

static int print_row(void *arg, int n, char **values, char **names)
{
    (void)arg, (void)names;
    for (int i = 0; i < n; i++)
        printf("%s%s", i ? "|" : "", values[i] ? values[i] : "");
    putchar('\n');
    return 0;
}

static int print_rejection(void *arg, const struct tombolo_rejection *r)
{
    (void)arg;
    printf("refused: %s of %s %s: %s\n", r->operation, r->table, r->key, r->message);
    return 0;
}

/* Reads and writes: plain SQLite, online or not. */
static int use_database(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        return 1;
    sqlite3_busy_timeout(db, 5000);
    int rc = sqlite3_exec(db, "INSERT INTO items(id, owner, name) VALUES (100, 7, 'from C')", NULL,
                          NULL, NULL);
    sqlite3_close(db);
    return rc != SQLITE_OK;
}

static int show_database(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        return 1;
    int rc = sqlite3_exec(db, "SELECT id, name FROM items ORDER BY id", print_row, NULL, NULL);
    sqlite3_close(db);
    return rc != SQLITE_OK;
}

static int fail(struct tombolo *t)
{
    fprintf(stderr, "%s\n", tombolo_error());
    tombolo_close(t);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct tombolo *t = tombolo_open(argv[2], argv[1]);

    if (tombolo_add_shape(t, argv[3]) != TOMBOLO_OK || /* first: the tables, with their rows */
        tombolo_sync(t, 10000) != TOMBOLO_OK ||        /* then in the background */
        tombolo_start(t) != TOMBOLO_OK)
        return fail(t);
    if (use_database(argv[2]) != 0 || tombolo_wait_written(t, 10000) != TOMBOLO_OK)
        return fail(t);
    int bad = show_database(argv[2]);
    if (tombolo_rejected(t, print_rejection, NULL) != TOMBOLO_OK)
        return fail(t);
    tombolo_close(t);
    return bad;
}
