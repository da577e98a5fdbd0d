/*
 * The stream's hot paths.
 *
 *     hot_stream stream    a row of pgoutput decoded, filtered for 20 shapes, encoded, appended
 *     hot_stream index     a row's shapes looked up, where 20,000 values are asked for
 *     hot_stream where     a clause of four terms evaluated on a row
 *
 * More values would cost the lookup not one instruction more, but minutes to make their shapes.
 */
#include "hot.h"
#include "../unit/pipeline.h"

#include "shapes/index.h"

#define ROWS 2000u
#define SHAPES 20u
#define LISTS 200u /* shapes in the index, each of so many values: */
#define LISTED 100u

static const char clause[] =
    "status IN ('open', 'review') AND priority >= 2 AND price < 500.00 AND title LIKE 'Item%'";

struct lookup {
    struct shape_index *index;
    struct pipeline_row *rows;
    struct arena scratch;
    uint64_t found;
};

struct evaluation {
    const struct where *where;
    struct pipeline_row *rows;
    struct arena scratch;
    uint64_t matched;
};

static void die(const char *what)
{
    fprintf(stderr, "hot_stream: %s\n", what);
    exit(1);
}

static struct pipeline_row *make_rows(uint64_t owners)
{
    struct pipeline_row *rows = xcalloc(ROWS, sizeof(*rows));

    for (uint64_t i = 0; i < ROWS; i++)
        pipeline_row(&rows[i], i, owners);
    return rows;
}

/* ---- stream ---------------------------------------------------------------------------------- */

static void run_transaction(void *p)
{
    pipeline_run(p);
}

static void measure_stream(void)
{
    struct pipeline *p = pipeline_new();
    char where[64];

    pipeline_follow(p, clause);
    for (unsigned i = 1; i < SHAPES; i++) {
        snprintf(where, sizeof(where), "owner_id = %u", i);
        pipeline_follow(p, where);
    }
    pipeline_make(p, ROWS, SHAPES);
    pipeline_run(p);
    pipeline_run(p);
    hot_say("stream", ROWS);
    hot_measure(run_transaction, p);
    if (fanout_get_stats(p->fanout)->messages < 3 * ROWS / 2)
        die("too few rows were for a shape");
    pipeline_free(p);
}

/* ---- index ----------------------------------------------------------------------------------- */

static void find_all(void *arg)
{
    struct lookup *l = arg;

    for (unsigned i = 0; i < ROWS; i++) {
        const struct change change = {
            .op = CHANGE_INSERT, .relid = PIPELINE_RELID, .new = &l->rows[i].tuple};
        size_t n;

        arena_reset(&l->scratch);
        shape_index_find(l->index, PIPELINE_RELID, &change, &l->scratch, &n);
        l->found += n;
    }
}

/* owner_id = ANY ('{...}'), of consecutive values: read sooner than IN. */
static struct shape *list_shape(struct pipeline *p, unsigned i)
{
    struct buf where;

    buf_init(&where, BUF_NO_LIMIT);
    for (unsigned n = 0; n < LISTED; n++)
        buf_printf(&where, "%s%u", n ? "," : "owner_id = ANY ('{", i * LISTED + n);
    buf_put_cstr(&where, "}')");
    struct shape *shape = pipeline_shape(p, buf_cstr(&where));

    buf_release(&where);
    return shape;
}

static void measure_index(void)
{
    struct pipeline *p = pipeline_new();
    struct lookup l = {.index = shape_index_new(), .rows = make_rows((uint64_t)LISTS * LISTED)};
    struct shape *shapes[LISTS];
    struct shape_entry entries[LISTS];

    for (unsigned i = 0; i < LISTS; i++) {
        shapes[i] = list_shape(p, i);
        entries[i].shape = shapes[i];
        shape_index_add(l.index, &entries[i]);
    }
    find_all(&l);
    if (l.found != ROWS)
        die("each row is for one shape");
    hot_say("index", ROWS);
    hot_measure(find_all, &l);
    for (unsigned i = 0; i < LISTS; i++) {
        shape_index_remove(l.index, &entries[i]);
        shape_unref(shapes[i]);
    }
    shape_index_free(l.index);
    arena_release(&l.scratch);
    free(l.rows);
    pipeline_free(p);
}

/* ---- where ----------------------------------------------------------------------------------- */

static void evaluate_all(void *arg)
{
    struct evaluation *e = arg;
    struct err err;
    enum tri tri;

    for (unsigned i = 0; i < ROWS; i++) {
        arena_reset(&e->scratch);
        if (!where_eval(e->where, &e->rows[i].tuple, &e->scratch, &tri, &err))
            die(err.msg);
        e->matched += tri == TRI_TRUE;
    }
}

static void measure_where(void)
{
    struct pipeline *p = pipeline_new();
    struct shape *shape = pipeline_shape(p, clause);
    struct evaluation e = {.where = shape->where, .rows = make_rows(1000)};

    evaluate_all(&e);
    if (!e.matched || e.matched == ROWS)
        die("some rows match, not all");
    hot_say("where", ROWS);
    hot_measure(evaluate_all, &e);
    arena_release(&e.scratch);
    free(e.rows);
    shape_unref(shape);
    pipeline_free(p);
}

int main(int argc, char **argv)
{
    const char *path = argc == 2 ? argv[1] : "";

    if (strcmp(path, "stream") == 0)
        measure_stream();
    else if (strcmp(path, "index") == 0)
        measure_index();
    else if (strcmp(path, "where") == 0)
        measure_where();
    else
        die("stream, index or where");
    return 0;
}
