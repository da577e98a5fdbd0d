/*
 * `tombolo status FILE`: what a synced file holds, for a person or, with --json, a program.
 * `tombolo status URL`: whether a bridge serves, as a health check asks.
 */
#include "command.h"

#include "base/buf.h"
#include "base/clock.h"
#include "fetch/fetch.h"
#include "fetch/health.h"
#include "replica/replica.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: tombolo status FILE [--json]\n"
    "       tombolo status URL\n"
    "\n"
    "Says what a synced SQLite file holds: its shapes with their rows, the position in\n"
    "Postgres's log that they stand for, how old it is, which local writes are not up yet or\n"
    "were refused, and where they stay here and why. Reads only, also while the file is being "
    "synced.\n"
    "\n"
    "Of a bridge, http://HOST:PORT, it prints what /v1/health says, and exits with 0 when the\n"
    "bridge serves; with 1 while it starts, waits for another one to end, or does not answer.\n";

/* ---- for a program ---- */

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    if (!text) {
        buf_put_cstr(out, "null,");
        return;
    }
    buf_put_u8(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_put_u8(out, '\\');
        if ((unsigned char)*text < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*text);
        else
            buf_put_u8(out, (uint8_t)*text);
    }
    buf_put_cstr(out, "\",");
}

static void put_shape(struct buf *out, const struct replica_shape_status *s)
{
    buf_put_u8(out, '{');
    put_text(out, "name", s->name);
    put_text(out, "schema", s->schema);
    put_text(out, "table", s->table);
    put_text(out, "local", s->local);
    put_text(out, "where", s->where);
    put_text(out, "status", s->status);
    put_text(out, "reason", s->reason);
    put_text(out, "kept", s->kept);
    buf_printf(out, "\"rows\":%" PRId64 ",\"writes\":%s}", s->rows, s->writes ? "true" : "false");
}

static void print_json(const struct replica_status *st)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    buf_put_u8(&out, '{');
    put_text(&out, "replica", st->id);
    buf_printf(&out, "\"position\":\"%" PRIu64 "\",\"consistent\":%s,", st->position,
               st->consistent ? "true" : "false");
    buf_printf(&out, "\"committed_at_us\":%" PRId64 ",\"heard_at_us\":%" PRId64 ",", st->at,
               st->heard_at);
    buf_printf(&out, "\"pending\":%" PRIu64 ",\"rejected\":%" PRIu64 ",", st->pending,
               st->rejected);
    buf_printf(&out, "\"syncer_pid\":%" PRId64 ",", st->syncer_pid);
    put_text(&out, "syncer_host", st->syncer_pid ? st->syncer_host : NULL);
    buf_printf(&out, "\"file_bytes\":%" PRId64 ",\"wal_bytes\":%" PRId64 ",", st->file_bytes,
               st->wal_bytes);
    put_text(&out, "sqlite", st->sqlite_version);
    buf_printf(&out, "\"sqlite_at_risk\":%s,\"shapes\":[", st->sqlite_at_risk ? "true" : "false");
    for (size_t i = 0; i < st->nshapes; i++) {
        if (i > 0)
            buf_put_u8(&out, ',');
        put_shape(&out, &st->shapes[i]);
    }
    buf_put_cstr(&out, "]}");
    puts(buf_cstr(&out));
    buf_release(&out);
}

/* ---- for a person ---- */

static void print_age(const char *what, int64_t at)
{
    if (at > 0)
        printf("%-12s %.1f s ago\n", what, (double)(clock_unix_us() - at) / 1e6);
    else
        printf("%-12s never\n", what);
}

static void print_shape(const struct replica_shape_status *s)
{
    printf("  %-24s %10" PRId64 " rows  %s%s", s->local, s->rows, s->status,
           s->writes ? ", writes go up" : "");
    if (s->kept)
        printf(", writes stay here: %s", s->kept);
    if (s->reason)
        printf(" (%s)", s->reason);
    if (s->name)
        printf("  of %s.%s by the bridge's rules", s->schema, s->table);
    else if (strcmp(s->schema, "public") != 0)
        printf("  from %s.%s", s->schema, s->table);
    if (s->where)
        printf("  where %s", s->where);
    putchar('\n');
}

static void print_text(const struct replica_status *st)
{
    printf("%-12s %s\n", "replica", st->id);
    printf("%-12s %" PRIu64 " (%" PRIX32 "/%" PRIX32 "), %s\n", "position", st->position,
           (uint32_t)(st->position >> 32), (uint32_t)st->position,
           st->consistent ? "consistent" : "not consistent yet");
    print_age("committed", st->at);
    print_age("heard", st->heard_at);
    if (st->syncer_pid)
        printf("%-12s process %" PRId64 " on %s\n", "synced by", st->syncer_pid, st->syncer_host);
    else
        printf("%-12s nobody\n", "synced by");
    printf("%-12s %.1f MB, WAL %.1f MB%s\n", "size", (double)st->file_bytes / 1e6,
           (double)st->wal_bytes / 1e6,
           st->wal_bytes > 64000000 ? ": a reader holds an old state of the file" : "");
    printf("%-12s %s%s\n", "SQLite", st->sqlite_version,
           st->sqlite_at_risk ? ": has the WAL-reset bug; no other program of such a version "
                                "should checkpoint the file"
                              : "");
    printf("%-12s %" PRIu64 " not acknowledged, %" PRIu64 " refused%s\n", "writes", st->pending,
           st->rejected, st->rejected ? ": see tombolo rejected" : "");
    puts("shapes");
    for (size_t i = 0; i < st->nshapes; i++)
        print_shape(&st->shapes[i]);
}

static int file_status(const char *path, bool json, struct err *err)
{
    struct replica_status st;

    if (!replica_status_read(path, &st, err))
        return EXIT_FAILED;
    if (json)
        print_json(&st);
    else
        print_text(&st);
    replica_status_release(&st);
    return 0;
}

/* ---- a bridge ---- */

#define ANSWER_LIMIT ((size_t)64 << 10)

static bool is_url(const char *name)
{
    return strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
}

static int bridge_status(const char *url, struct err *err)
{
    struct buf answer;
    bool active = false;

    buf_init(&answer, ANSWER_LIMIT);
    bool ok = fetch_init(err) && fetch_health(url, &answer, &active, err);
    if (ok)
        puts(buf_cstr(&answer));
    buf_release(&answer);
    return active ? 0 : EXIT_FAILED;
}

int status_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool json = false;
    struct err err = {0};
    int c, status;

    optind = 1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(help, stdout) < 0 ? EXIT_FAILED : 0;
        if (c != 'j')
            return EXIT_USAGE;
        json = true;
    }
    if (optind + 1 != argc) {
        fputs("tombolo status: name one FILE or URL; see tombolo status --help\n", stderr);
        return EXIT_USAGE;
    }
    status = is_url(argv[optind]) ? bridge_status(argv[optind], &err)
                                  : file_status(argv[optind], json, &err);
    if (status != 0 && err.msg[0])
        fprintf(stderr, "tombolo status: %s\n", err.msg);
    return status;
}
