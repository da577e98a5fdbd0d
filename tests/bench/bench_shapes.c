/*
 * What a row costs the bridge by the number of shapes: decoded, routed, encoded, appended to a
 * shape log and published, with no Postgres and no client.
 *
 *     bench_shapes KIND COUNT ROWS
 *
 *   equal     owner_id = N: each row is for one shape, found by hash
 *   listed    owner_id IN (N, N + COUNT)
 *   range     owner_id BETWEEN N AND N
 *   contains  tags @> '{N}'
 *   evaluated owner_id + 0 = N, which no index could find
 *
 * Prints, for COUNT shapes,
 *
 *     rows 1000 seconds 0.012345 cpu 0.012345 bytes 1234 make 0.123456
 *
 * with the CPU of the one thread, the anonymous memory that a shape takes, and the seconds that one
 * took to be made, of which nearly all is parsing its clause.
 */
#include "../unit/pipeline.h"

#include "base/clock.h"

#define PER_TXN 1000u

static const struct {
    const char *name, *format; /* of the shape's number, and of another one beside it */
} kinds[] = {
    {"equal", "owner_id = %lu"},
    {"listed", "owner_id IN (%lu, %lu)"},
    {"range", "owner_id BETWEEN %lu AND %lu"},
    {"contains", "tags @> '{%lu}'"},
    {"evaluated", "owner_id + 0 = %lu"},
};

static void die(const char *why)
{
    fprintf(stderr, "bench_shapes: %s\n", why);
    exit(1);
}

static const char *format_of(const char *kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, kind) == 0)
            return kinds[i].format;
    }
    die("KIND is equal, listed, range, contains or evaluated");
    return NULL;
}

/* What another shape asks beside its own: itself in a range, another owner in a list. */
static unsigned long beside(const char *kind, unsigned long n, unsigned long count)
{
    return strcmp(kind, "range") == 0 ? n : n + count;
}

static void follow(struct pipeline *p, const char *kind, unsigned long n, unsigned long count)
{
    char where[128];

    snprintf(where, sizeof(where), format_of(kind), n, beside(kind, n, count));
    pipeline_follow(p, where);
}

static long anonymous_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");

    if (!status)
        die("no /proc/self/status");
    while (fgets(line, sizeof(line), status)) {
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtol(line + 8, NULL, 10);
    }
    fclose(status);
    return kb;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("KIND COUNT ROWS");
    unsigned long count = strtoul(argv[2], NULL, 10), rows = strtoul(argv[3], NULL, 10);
    if (!count || rows < PER_TXN)
        die("at least one shape and 1000 rows");
    struct pipeline *p = pipeline_new();
    long before = anonymous_kb();
    int64_t made = clock_us();

    for (unsigned long n = 0; n < count; n++)
        follow(p, argv[1], n, count);
    made = clock_us() - made;
    double bytes = (double)(anonymous_kb() - before) * 1024 / (double)count;

    pipeline_make(p, PER_TXN, count);
    pipeline_run(p);
    if (fanout_get_stats(p->fanout)->messages != PER_TXN)
        die("not every row was for a shape");
    int64_t wall = 0, cpu = 0;
    for (unsigned long done = 0; done < rows; done += PER_TXN) {
        pipeline_make_from(p, PER_TXN + done, PER_TXN, count);
        int64_t began = clock_us(), used = clock_us_of(CLOCK_THREAD_CPUTIME_ID);

        pipeline_run(p);
        wall += clock_us() - began;
        cpu += clock_us_of(CLOCK_THREAD_CPUTIME_ID) - used;
    }
    printf("rows %lu seconds %.6f cpu %.6f bytes %.0f make %.9f\n", rows / PER_TXN * PER_TXN,
           (double)wall / 1e6, (double)cpu / 1e6, bytes, (double)made / 1e6 / (double)count);
    pipeline_free(p);
    return 0;
}
