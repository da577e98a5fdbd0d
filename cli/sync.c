/*
 * `tombolo sync`: a SQLite file that follows shapes of a bridge. Its work is
 * replica's and fetch's; here are the options, the signals and what a person sees.
 */
#include "command.h"

#include "base/arena.h"
#include "base/logging.h"
#include "fetch/fetch.h"
#include "progress.h"
#include "replica/replica.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char help[] =
    "Usage: tombolo sync --from URL --db FILE --shape SHAPE [--shape SHAPE]... [OPTION]...\n"
    "\n"
    "Keeps the tables of a SQLite file equal to shapes of a Postgres database, by way of a\n"
    "bridge, and brings what is written to them to Postgres where the bridge's rules allow it.\n"
    "Runs until it is stopped, and goes on where it was when started again.\n"
    "\n"
    "  --from URL       the bridge, http://host:port\n"
    "  --db FILE        the SQLite file; made when it is not there\n"
    "  --shape SHAPE    [schema.]table [(column, ...)] [where condition], as in\n"
    "                   \"orders(id, total) where owner = 7\"; or @name, one that the bridge's\n"
    "                   rules define, whose table here has that name\n"
    "  --once           end when the file is up to date and its writes are acknowledged\n"
    "  --scan           compare captured tables with Postgres first, for writes that slipped by:\n"
    "                   made with triggers turned off, say. They go up; docs/REPLICA.md\n"
    "  --adopt          take over tables that are in the file already: their rows become\n"
    "                   the shape's\n"
    "  --secret S       the bridge's secret; better in the environment, as TOMBOLO_SECRET\n"
    "  --token T        a token instead; better in the environment, as TOMBOLO_TOKEN\n"
    "  --quiet          only warnings and errors, no progress\n"
    "  --help           this text\n"
    "\n"
    "A table of the file that no --shape names any more, and that was synced before, is dropped.\n"
    "One that Postgres has no more is waited for while the others go on; --once ends with it.\n"
    "Exit status: 0 up to date (--once) or stopped by a signal; 1 failed; 2 used wrongly.\n";

struct options {
    const char *from, *db, *secret, *token;
    struct replica_shape *shapes;
    size_t nshapes;
    bool once, scan, adopt, quiet, help;
};

static int stop_fd = -1;

/* Called as a signal handler: write() is all it may do. */
static void on_signal(int sig)
{
    const uint64_t one = 1;
    int saved = errno;

    (void)sig;
    if (write(stop_fd, &one, sizeof(one)) < 0)
        _exit(EXIT_FAILED);
    errno = saved;
}

static void print_err(const struct err *err)
{
    fprintf(stderr, "tombolo sync: %s\n", err->msg);
    if (err->hint[0])
        fprintf(stderr, "  %s\n", err->hint);
}

static bool add_shape(struct options *o, const char *text, struct err *err)
{
    o->shapes = xrealloc(o->shapes, (o->nshapes + 1) * sizeof(*o->shapes));
    if (!replica_shape_parse(text, &o->shapes[o->nshapes], err))
        return false;
    o->nshapes++;
    return true;
}

enum {
    OPT_FROM = 256,
    OPT_DB,
    OPT_SHAPE,
    OPT_ONCE,
    OPT_SCAN,
    OPT_ADOPT,
    OPT_SECRET,
    OPT_TOKEN,
    OPT_QUIET,
    OPT_HELP
};

static const struct option long_options[] = {
    {"from", required_argument, NULL, OPT_FROM},
    {"db", required_argument, NULL, OPT_DB},
    {"shape", required_argument, NULL, OPT_SHAPE},
    {"once", no_argument, NULL, OPT_ONCE},
    {"scan", no_argument, NULL, OPT_SCAN},
    {"adopt", no_argument, NULL, OPT_ADOPT},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"secret", required_argument, NULL, OPT_SECRET},
    {"token", required_argument, NULL, OPT_TOKEN},
    {"help", no_argument, NULL, OPT_HELP},
    {"h", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static bool take_option(struct options *o, int c, struct err *err)
{
    switch (c) {
    case OPT_FROM:
        o->from = optarg;
        return true;
    case OPT_DB:
        o->db = optarg;
        return true;
    case OPT_SHAPE:
        return add_shape(o, optarg, err);
    case OPT_ONCE:
        return o->once = true;
    case OPT_SCAN:
        return o->scan = true;
    case OPT_ADOPT:
        return o->adopt = true;
    case OPT_SECRET:
        o->secret = optarg;
        return true;
    case OPT_TOKEN:
        o->token = optarg;
        return true;
    case OPT_QUIET:
        return o->quiet = true;
    case OPT_HELP:
        return o->help = true;
    default:
        return err_set(err, ERR_INPUT, "see tombolo sync --help"); /* getopt has said what */
    }
}

static const char *of_environment(const char *name)
{
    const char *text = getenv(name);

    return text && *text ? text : NULL;
}

static bool parse_options(struct options *o, int argc, char **argv, struct err *err)
{
    int c;

    *o = (struct options){.secret = of_environment("TOMBOLO_SECRET"),
                          .token = of_environment("TOMBOLO_TOKEN")};
    optind = 1;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!take_option(o, c, err))
            return false;
    }
    if (o->help)
        return true;
    if (optind < argc)
        return err_set(err, ERR_INPUT, "\"%s\" is not an option", argv[optind]);
    if (!o->from || !o->db || !o->nshapes)
        return err_set(err, ERR_INPUT, "%s is missing; see tombolo sync --help",
                       !o->from ? "--from"
                       : !o->db ? "--db"
                                : "--shape");
    return true;
}

static bool catch_signals(struct err *err)
{
    struct sigaction action = {.sa_handler = on_signal};

    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        return err_errno(err, ERR_IO, "could not make an eventfd");
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return true;
}

struct view {
    struct replica *r;
    struct progress progress;
};

static void on_bytes(void *arg)
{
    struct view *view = arg;

    progress_update(&view->progress, view->r);
}

static bool follow(const struct options *o, struct replica *r, struct err *err)
{
    struct view view = {.r = r};
    const struct fetch_options fetch = {.url = o->from,
                                        .bearer = o->token ? o->token : o->secret,
                                        .once = o->once,
                                        .stop_fd = stop_fd,
                                        .on_bytes = on_bytes,
                                        .arg = &view};
    struct replica_progress done;

    progress_init(&view.progress, !o->quiet);
    if (!replica_set_shapes(r, o->shapes, o->nshapes, o->adopt, err) ||
        (o->scan && !replica_scan(r, err)))
        return false;
    bool ok = fetch_run(r, &fetch, err);
    progress_end(&view.progress);
    replica_progress(r, &done);
    if (ok && !o->quiet)
        fprintf(stderr, "up to date: %" PRIu64 " rows applied, position %" PRIu64 "\n", done.rows,
                done.position);
    /* Who stops a sync that would go on for ever has what he wants; --once has not. */
    return ok || (err->code == ERR_STOPPED && !o->once);
}

static int run(const struct options *o)
{
    struct err err = {0};

    logging_init(o->quiet ? LOG_WARN : LOG_INFO, LOG_LOGFMT);
    replica_own_sqlite();
    if (!fetch_init(&err) || !catch_signals(&err)) {
        print_err(&err);
        return EXIT_FAILED;
    }
    struct replica *r = replica_open(o->db, &err);
    bool ok = r && follow(o, r, &err);
    replica_close(r);
    if (!ok)
        print_err(&err);
    return ok ? 0 : EXIT_FAILED;
}

int sync_main(int argc, char **argv)
{
    struct options o;
    struct err err;
    int status = EXIT_USAGE;

    if (!parse_options(&o, argc, argv, &err))
        print_err(&err);
    else if (o.help)
        status = fputs(help, stdout) < 0 ? EXIT_FAILED : 0;
    else
        status = run(&o);
    for (size_t i = 0; i < o.nshapes; i++)
        replica_shape_release(&o.shapes[i]);
    free(o.shapes);
    return status;
}
