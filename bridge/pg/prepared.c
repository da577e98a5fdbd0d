#include "pg/prepared.h"

#include "base/hash.h"

#include <libpq-events.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#define PREPARED_MAX 128
#define PREPARED_LOW 16 /* places that are left when it counts as full */
#define LONGEST 8192    /* of a text, in bytes: Postgres keeps what we prepare */

struct statement {
    uint64_t hash;
    char *sql;  /* NULL: the place is free */
    char *role; /* NULL: the connection's own */
    uint32_t *types;
    int nparams;
};

struct prepared {
    struct statement list[PREPARED_MAX]; /* by the number in their names */
    int n;
};

static void statement_free(struct statement *statement)
{
    free(statement->sql);
    free(statement->role);
    free(statement->types);
    *statement = (struct statement){0};
}

static void clear(struct prepared *prepared)
{
    while (prepared->n > 0)
        statement_free(&prepared->list[--prepared->n]);
}

static int on_event(PGEventId id, void *info, void *unused)
{
    (void)unused;
    if (id == PGEVT_CONNDESTROY) {
        struct prepared *prepared = PQinstanceData(((PGEventConnDestroy *)info)->conn, on_event);

        clear(prepared);
        free(prepared);
    }
    return 1;
}

/* What the connection has; made when it has none yet. */
static struct prepared *prepared_of(struct pg_conn *conn)
{
    struct prepared *prepared = PQinstanceData(conn, on_event);

    if (prepared)
        return prepared;
    prepared = xcalloc(1, sizeof(*prepared));
    if (!PQregisterEventProc(conn, on_event, "prepared", NULL) ||
        !PQsetInstanceData(conn, on_event, prepared))
        abort(); /* out of memory */
    return prepared;
}

void prepared_name(int number, char name[24])
{
    snprintf(name, 24, "tombolo_%d", number);
}

static uint64_t hash_of(const char *sql, const uint32_t *types, int nparams)
{
    uint64_t hash = hash_bytes(slice_of(sql));

    if (types)
        hash ^= hash_bytes((struct slice){(const char *)types, (size_t)nparams * sizeof(*types)});
    return hash + (uint64_t)nparams;
}

static bool is_it(const struct statement *s, uint64_t hash, const char *role, const char *sql,
                  const uint32_t *types, int nparams)
{
    return s->sql && s->hash == hash && s->nparams == nparams && !s->types == !types &&
           !s->role == !role && (!role || strcmp(s->role, role) == 0) && strcmp(s->sql, sql) == 0 &&
           (!types || memcmp(s->types, types, (size_t)nparams * sizeof(*types)) == 0);
}

static char *copy(const char *text)
{
    return strcpy(xmalloc(strlen(text) + 1), text);
}

static void keep(struct statement *s, uint64_t hash, const char *role, const char *sql,
                 const uint32_t *types, int nparams)
{
    size_t size = (size_t)nparams * sizeof(*types);

    *s = (struct statement){.hash = hash, .nparams = nparams};
    s->sql = copy(sql);
    s->role = role ? copy(role) : NULL;
    if (types)
        s->types = memcpy(xmalloc(size + 1), types, size);
}

int prepared_find(struct pg_conn *conn, const char *role, const char *sql, const uint32_t *types,
                  int nparams, bool *known)
{
    struct prepared *prepared = prepared_of(conn);
    uint64_t hash = hash_of(sql, types, nparams);
    int free_place = PREPARED_NONE;

    *known = false;
    for (int i = 0; i < prepared->n; i++) {
        *known = is_it(&prepared->list[i], hash, role, sql, types, nparams);
        if (*known)
            return i;
        if (!prepared->list[i].sql)
            free_place = i;
    }
    if (strlen(sql) > LONGEST)
        return PREPARED_NONE;
    if (free_place == PREPARED_NONE && prepared->n < PREPARED_MAX)
        free_place = prepared->n++;
    if (free_place != PREPARED_NONE)
        keep(&prepared->list[free_place], hash, role, sql, types, nparams);
    return free_place;
}

void prepared_lost(struct pg_conn *conn, int number)
{
    statement_free(&prepared_of(conn)->list[number]);
}

bool prepared_is_full(struct pg_conn *conn)
{
    return prepared_of(conn)->n > PREPARED_MAX - PREPARED_LOW;
}

bool pg_forget_prepared(struct pg_conn *conn, struct err *err)
{
    clear(prepared_of(conn));
    return pg_run(conn, "DEALLOCATE ALL", err);
}

struct pg_result *pg_query_prepared(struct pg_conn *conn, const char *sql,
                                    const char *const *params, int nparams, struct err *err)
{
    char name[24];
    bool known;
    const int number = prepared_find(conn, NULL, sql, NULL, nparams, &known);

    if (number == PREPARED_NONE)
        return pg_query_params(conn, sql, params, nparams, err);
    prepared_name(number, name);
    if (!known) {
        struct pg_result *made = pg_checked(conn, PQprepare(conn, name, sql, 0, NULL), err);

        if (!made) {
            prepared_lost(conn, number);
            return NULL;
        }
        PQclear(made);
    }
    return pg_checked(conn, PQexecPrepared(conn, name, nparams, params, NULL, NULL, 0), err);
}
