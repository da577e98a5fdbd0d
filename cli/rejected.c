/*
 * `tombolo rejected FILE`: the local writes that were refused, and what to do about them.
 */
#include "command.h"

#include "base/clock.h"
#include "replica/replica.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: tombolo rejected FILE [--discard ID|all] [--retry ID|all]\n"
    "\n"
    "Lists the local writes of a synced SQLite file that were refused, with the reason. Their\n"
    "rows show what Postgres has. They are kept until you look after them:\n"
    "\n"
    "  --discard ID     forget it\n"
    "  --retry ID       write it to the table once more, so that it goes up again\n"
    "  --help           this text\n"
    "\n"
    "Instead of an ID, all. The table _tombolo_rejected in the file has the same for programs.\n";

static void print_one(const struct replica_rejected *r)
{
    static const char *const ops[] = {"insert into", "update of", "delete from"};
    const char *op = ops[*r->op == 'I' ? 0 : *r->op == 'U' ? 1 : 2];

    printf("%" PRId64 "  %s %s %s, %.0f s ago\n", r->id, op, r->table, r->key,
           (double)(clock_unix_us() - r->at) / 1e6);
    if (r->before)
        printf("    was %s\n", r->before);
    if (r->after)
        printf("    %s %s\n", *r->op == 'I' ? "row" : "is ", r->after);
    printf("    %s%s%s: %s\n", r->code, r->sqlstate ? " " : "", r->sqlstate ? r->sqlstate : "",
           r->message ? r->message : "no reason was given");
}

typedef bool each_cb(const char *path, int64_t id, struct err *err);

/* All that were there when it began. */
static bool each(const char *path, const struct replica_rejected *list, size_t n, int64_t id,
                 each_cb *look_after)
{
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        struct err err;

        if (id && list[i].id != id)
            continue;
        if (look_after(path, list[i].id, &err))
            continue;
        fprintf(stderr, "tombolo rejected: %" PRId64 ": %s\n", list[i].id, err.msg);
        ok = false;
    }
    return ok;
}

static bool has(const struct replica_rejected *list, size_t n, int64_t id)
{
    size_t i = 0;

    while (i < n && list[i].id != id)
        i++;
    return i < n;
}

static int run(const char *path, int64_t id, each_cb *look_after)
{
    struct replica_rejected *list;
    struct err err;
    bool ok = true;
    size_t n;

    if (!replica_rejected_read(path, &list, &n, &err)) {
        fprintf(stderr, "tombolo rejected: %s\n", err.msg);
        return EXIT_FAILED;
    }
    if (look_after && id && !has(list, n, id)) {
        fprintf(stderr, "tombolo rejected: %s: there is no refused write %" PRId64 "\n", path, id);
        ok = false;
    } else if (look_after) {
        ok = each(path, list, n, id, look_after);
    } else {
        for (size_t i = 0; i < n; i++)
            print_one(&list[i]);
    }
    replica_rejected_release(list, n);
    return ok ? 0 : EXIT_FAILED;
}

/* "all" is 0. */
static bool read_id(const char *text, int64_t *id)
{
    char *end;

    *id = strtoll(text, &end, 10);
    if (strcmp(text, "all") == 0)
        return true;
    return *text && !*end && *id > 0;
}

int rejected_main(int argc, char **argv)
{
    static const struct option options[] = {{"discard", required_argument, NULL, 'd'},
                                            {"retry", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    each_cb *look_after = NULL;
    int64_t id = 0;
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'h')
            return fputs(help, stdout) < 0 ? EXIT_FAILED : 0;
        if ((c != 'd' && c != 'r') || look_after || !read_id(optarg, &id)) {
            fputs("tombolo rejected: --discard or --retry takes an ID or all; see tombolo "
                  "rejected --help\n",
                  stderr);
            return EXIT_USAGE;
        }
        look_after = c == 'd' ? replica_rejected_discard : replica_rejected_retry;
    }
    if (optind + 1 != argc) {
        fputs("tombolo rejected: name one FILE; see tombolo rejected --help\n", stderr);
        return EXIT_USAGE;
    }
    return run(argv[optind], id, look_after);
}
