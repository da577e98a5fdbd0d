/*
 * SQLite's loadable extension: the library from SQL, in whatever program has loaded it.
 *
 *     SELECT tombolo_token('eyJ...');
 *     SELECT tombolo_sync('https://sync.example.com', 'orders where owner = 7');
 *     SELECT tombolo_start('https://sync.example.com', 'orders where owner = 7');
 *     SELECT tombolo_wait(5000), tombolo_status();
 *     SELECT tombolo_stop();
 *
 * They are of the connection's main database, a file, and of the connection: closing it stops the
 * thread. Reading, writing and what was refused need no function: they are tables. Only direct use
 * is allowed, so that no view or trigger in a stranger's file reaches the network.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "lib/tombolo.h"
#include "replica/json.h"

#include <inttypes.h>
#include <sqlite3ext.h>
#include <stdlib.h>
#include <string.h>

SQLITE_EXTENSION_INIT1

#define SQLITE_NEEDED 3024000

/* Of one connection; shared by its functions. */
struct extension {
    struct tombolo *t; /* NULL: nothing has been asked yet */
    char *url, *token;
};

static void close_handle(struct extension *x)
{
    tombolo_close(x->t);
    free(x->url);
    x->t = NULL;
    x->url = NULL;
}

static void extension_free(void *arg)
{
    struct extension *x = arg;

    close_handle(x);
    free(x->token);
    free(x);
}

static struct extension *extension_of(sqlite3_context *ctx)
{
    return sqlite3_user_data(ctx);
}

static void fail(sqlite3_context *ctx, const char *text)
{
    sqlite3_result_error(ctx, text, -1);
}

/* The file's path; NULL with the error given. */
static const char *main_file(sqlite3_context *ctx)
{
    const char *path = sqlite3_db_filename(sqlite3_context_db_handle(ctx), "main");

    if (!path || !*path)
        fail(ctx, "tombolo: the main database is not a file");
    return path && *path ? path : NULL;
}

/* We write by a connection of our own, which would wait for this one for ever. */
static bool may_sync(sqlite3_context *ctx)
{
    bool alone = sqlite3_get_autocommit(sqlite3_context_db_handle(ctx));

    if (!alone)
        fail(ctx, "tombolo: not within a transaction: COMMIT first");
    return alone;
}

static const char *text_of(sqlite3_value *value)
{
    return (const char *)sqlite3_value_text(value);
}

/* A handle with the shapes that were given. */
static bool open_handle(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct extension *x = extension_of(ctx);
    const char *path = main_file(ctx);

    if (!path || !may_sync(ctx))
        return false;
    if (argc < 1 || !text_of(argv[0])) {
        fail(ctx, "tombolo: the first argument is the bridge's URL, others are shapes");
        return false;
    }
    close_handle(x);
    x->url = xstrdup(text_of(argv[0]));
    x->t = tombolo_open(path, x->url);
    tombolo_set_token(x->t, x->token);
    for (int i = 1; i < argc; i++) {
        if (tombolo_add_shape(x->t, text_of(argv[i]) ? text_of(argv[i]) : "") != TOMBOLO_OK) {
            fail(ctx, tombolo_error());
            return false;
        }
    }
    return true;
}

/* A handle to look at the file with. */
static struct tombolo *any_handle(sqlite3_context *ctx)
{
    struct extension *x = extension_of(ctx);
    const char *path = x->t ? NULL : main_file(ctx);

    if (!x->t && path)
        x->t = tombolo_open(path, NULL);
    return x->t;
}

static void give_status(sqlite3_context *ctx, struct tombolo *t)
{
    struct tombolo_status s;
    struct buf b;

    if (tombolo_status(t, &s) != TOMBOLO_OK) {
        fail(ctx, tombolo_error());
        return;
    }
    buf_init(&b, BUF_NO_LIMIT);
    buf_printf(&b,
               "{\"position\":\"%" PRIu64 "\",\"consistent\":%s,\"syncing\":%s,\"shapes\":%zu,"
               "\"fetching\":%zu,\"pending\":%" PRIu64 ",\"rejected\":%" PRIu64
               ",\"result\":\"%s\","
               "\"problem\":",
               s.position, s.consistent ? "true" : "false", s.syncing ? "true" : "false", s.shapes,
               s.fetching, s.pending, s.rejected, tombolo_result_name(s.result));
    lite_json_string(&b, slice_of(s.problem));
    buf_printf(&b, ",\"kept\":%zu,\"kept_why\":", s.kept);
    lite_json_string(&b, slice_of(s.kept_why));
    buf_put_u8(&b, '}');
    sqlite3_result_text(ctx, (const char *)b.ptr, (int)b.len, SQLITE_TRANSIENT);
    buf_release(&b);
}

/* ---- the functions ---- */

static void fn_token(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct extension *x = extension_of(ctx);

    (void)argc;
    free(x->token);
    x->token = text_of(argv[0]) ? xstrdup(text_of(argv[0])) : NULL;
    if (x->t)
        tombolo_set_token(x->t, x->token);
}

static void fn_sync(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!open_handle(ctx, argc, argv))
        return;
    if (tombolo_sync(extension_of(ctx)->t, -1) != TOMBOLO_OK)
        fail(ctx, tombolo_error());
    else
        give_status(ctx, extension_of(ctx)->t);
}

static void fn_start(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!open_handle(ctx, argc, argv))
        return;
    if (tombolo_start(extension_of(ctx)->t) != TOMBOLO_OK)
        fail(ctx, tombolo_error());
    else
        give_status(ctx, extension_of(ctx)->t);
}

static void fn_stop(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    (void)argc, (void)argv;
    close_handle(extension_of(ctx));
}

static void fn_status(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct tombolo *t = any_handle(ctx);

    (void)argc, (void)argv;
    if (t)
        give_status(ctx, t);
}

/* 1: all that was written is decided; 0: not within that time. */
static void fn_wait(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct tombolo *t = may_sync(ctx) ? any_handle(ctx) : NULL;

    (void)argc;
    if (!t)
        return;
    enum tombolo_result result = tombolo_wait_written(t, sqlite3_value_int(argv[0]));
    if (result == TOMBOLO_OK || result == TOMBOLO_TIMEOUT)
        sqlite3_result_int(ctx, result == TOMBOLO_OK);
    else
        fail(ctx, tombolo_error());
}

static const struct {
    const char *name;
    int nargs;
    void (*call)(sqlite3_context *, int, sqlite3_value **);
} functions[] = {
    {"tombolo_token", 1, fn_token},   {"tombolo_sync", -1, fn_sync},
    {"tombolo_start", -1, fn_start},  {"tombolo_stop", 0, fn_stop},
    {"tombolo_status", 0, fn_status}, {"tombolo_wait", 1, fn_wait},
};

/* The name that SQLite derives from tombolo.so. */
TOMBOLO_API int sqlite3_tombolo_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

int sqlite3_tombolo_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    int rc = SQLITE_OK;

    SQLITE_EXTENSION_INIT2(api);
    if (sqlite3_libversion_number() < SQLITE_NEEDED) {
        *message =
            sqlite3_mprintf("tombolo needs SQLite 3.24, and this is %s", sqlite3_libversion());
        return SQLITE_ERROR;
    }
    struct extension *x = xcalloc(1, sizeof(*x));
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]) && rc == SQLITE_OK; i++)
        rc = sqlite3_create_function_v2(db, functions[i].name, functions[i].nargs,
                                        SQLITE_UTF8 | SQLITE_DIRECTONLY, x, functions[i].call, NULL,
                                        NULL, i == 0 ? extension_free : NULL);
    /* Its threads run our code: it stays when the connection that loaded it has gone. */
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}
