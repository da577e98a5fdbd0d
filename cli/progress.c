#include "progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EVERY_US 100000
#define WIDTH 24

void progress_init(struct progress *p, bool wanted)
{
    *p = (struct progress){.shown = wanted && isatty(STDERR_FILENO)};
}

/* The total is not known: the bar shows that something moves, the figures how much. */
static void draw(const struct progress *p, uint64_t rows, int64_t now)
{
    char bar[WIDTH + 1];
    double seconds = (double)(now - p->started) / 1e6;
    size_t at = (size_t)(now / EVERY_US) % (2 * (WIDTH - 3));

    memset(bar, '.', WIDTH);
    bar[WIDTH] = '\0';
    if (at > WIDTH - 3)
        at = 2 * (WIDTH - 3) - at;
    memset(bar + at, '#', 3);
    fprintf(stderr, "\r\033[K[%s] %" PRIu64 " rows, %.0f rows/s", bar, rows,
            seconds > 0 ? (double)rows / seconds : 0.0);
}

void progress_update(struct progress *p, const struct replica *r)
{
    struct replica_progress now;
    int64_t at;

    if (!p->shown)
        return;
    replica_progress(r, &now);
    if (now.fetching == 0) {
        progress_end(p);
        p->started = 0;
        p->rows_before = now.rows;
        return;
    }
    at = clock_us();
    if (!p->started)
        p->started = at;
    if (at - p->drawn_at < EVERY_US)
        return;
    draw(p, now.rows - p->rows_before, at);
    p->drawn = true;
    p->drawn_at = at;
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
