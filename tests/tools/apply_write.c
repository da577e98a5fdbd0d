/*
 * Applies write requests for the integration tests, without HTTP and tombolo.ini: reads lines of
 *
 *     {"rules": {"subject": "..", "role": "..", "claims": "..", "group": 50, "attempts": 3,
 *                "tables": [{"schema": "public", "table": "orders", "ops": ["insert", ..],
 *                            "columns": [".."], "check": "..", "set": {"owner": ".."},
 *                            "conflict": {"qty": "counter"}, "functions": {"qty": "name"},
 *                            "function": "name", "skip": ["update", ..]}]},
 *      "body": "..."}
 *
 * or {"prune": ms, "replicas": ms}, and answers each with one line of JSON: {"outcome": ..},
 * {"decided": ..},
 * {"invalid": place, "message": ..} or
 * {"error": .., "class": ..}. Functions are in schema public; no columns: all. The argument is a
 * conninfo.
 */
#include "change/json.h"
#include "pg/catalog.h"
#include "write/memory.h"
#include "write/sqlstate.h"
#include "write/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

struct tool {
    struct pg_conn *conn;
    struct arena arena; /* of a line */
    struct buf out;
    struct err err;
};

static struct slice text_of(struct tool *t, yyjson_val *v)
{
    const char *s = yyjson_get_str(v);

    return s ? arena_copy(&t->arena, (struct slice){s, yyjson_get_len(v)})
             : (struct slice){NULL, 0};
}

static struct slice field(struct tool *t, yyjson_val *object, const char *name)
{
    return text_of(t, yyjson_obj_get(object, name));
}

static void put_member(struct tool *t, const char *name, struct slice text)
{
    buf_printf(&t->out, "\"%s\":", name);
    json_put_string(&t->out, text);
}

static bool put_error(struct tool *t)
{
    static const char *const classes[] = {"permanent", "retry", "later", "reconnect", "stop"};

    buf_clear(&t->out);
    buf_put_u8(&t->out, '{');
    put_member(t, "error", slice_of(t->err.msg));
    buf_printf(&t->out, ",\"sqlstate\":\"%s\",\"class\":\"%s\"", t->err.sqlstate,
               classes[write_class_of(&t->err)]);
    return false;
}

/* ---- rules ------------------------------------------------------------- */

static void read_ops(yyjson_val *list, bool ops[])
{
    size_t i, max;
    yyjson_val *v;

    yyjson_arr_foreach(list, i, max, v)
    {
        for (int op = WRITE_INSERT; op <= WRITE_DELETE; op++)
            ops[op] = ops[op] || yyjson_equals_str(v, write_op_name((enum write_op)op));
    }
}

static struct write_function read_function(struct tool *t, yyjson_val *name)
{
    return (struct write_function){SLICE("public"), text_of(t, name)};
}

static bool names(yyjson_val *list, struct slice name)
{
    size_t i, max;
    yyjson_val *v;

    yyjson_arr_foreach(list, i, max, v)
    {
        if (slice_is(name, yyjson_get_str(v)))
            return true;
    }
    return !list;
}

static void read_columns(struct tool *t, yyjson_val *from, struct write_table *rule)
{
    for (uint16_t i = 0; i < rule->table->ncols; i++) {
        const struct table_column *col = &rule->table->cols[i];
        yyjson_val *function = yyjson_obj_get(yyjson_obj_get(from, "functions"), col->name.ptr);
        struct slice kind = field(t, yyjson_obj_get(from, "conflict"), col->name.ptr);
        struct write_column *column = &rule->columns[i];

        column->writable = !col->generated && names(yyjson_obj_get(from, "columns"), col->name);
        if (function) {
            column->conflict = CONFLICT_FUNCTION;
            column->function = read_function(t, function);
        }
        if (kind.ptr && !write_conflict_parse(kind, &column->conflict))
            abort();
    }
}

static bool read_table(struct tool *t, yyjson_val *from, struct write_grant *grant)
{
    struct write_table *rule = arena_calloc(&t->arena, 1, sizeof(*rule));
    yyjson_val *set = yyjson_obj_get(from, "set"), *key;
    struct slice check = field(t, from, "check");
    struct where *where = NULL;
    yyjson_obj_iter iter;

    rule->table =
        catalog_table(t->conn, field(t, from, "schema"), field(t, from, "table"), &t->err);
    grant->rule = rule;
    if (!rule->table)
        return put_error(t);
    rule->columns = arena_calloc(&t->arena, rule->table->ncols, sizeof(*rule->columns));
    read_ops(yyjson_obj_get(from, "ops"), rule->ops);
    read_ops(yyjson_obj_get(from, "skip"), rule->skip_missing);
    read_columns(t, from, rule);
    if (yyjson_obj_get(from, "function"))
        rule->function = read_function(t, yyjson_obj_get(from, "function"));
    if (!write_table_check(t->conn, rule, &t->arena, &t->err))
        return put_error(t);
    if (check.ptr && !where_compile(check, &(struct where_params){NULL, 0}, rule->table, &t->arena,
                                    &where, &t->err))
        return put_error(t);
    struct slice *values = arena_calloc(&t->arena, rule->table->ncols, sizeof(*values));
    yyjson_obj_iter_init(set, &iter);
    while ((key = yyjson_obj_iter_next(&iter)))
        values[table_column_index(rule->table, slice_of(yyjson_get_str(key)))] =
            text_of(t, yyjson_obj_iter_get_val(key));
    grant->check = where;
    grant->set = values;
    return true;
}

static bool read_rules(struct tool *t, yyjson_val *from, struct write_rules *rules)
{
    yyjson_val *list = yyjson_obj_get(from, "tables"), *v;
    struct write_grant *grants = arena_calloc(&t->arena, yyjson_arr_size(list), sizeof(*grants));
    size_t i, max;

    *rules = (struct write_rules){.subject = field(t, from, "subject"),
                                  .role = field(t, from, "role"),
                                  .claims = field(t, from, "claims"),
                                  .grants = grants};
    yyjson_arr_foreach(list, i, max, v)
    {
        rules->ngrants++;
        if (!read_table(t, v, &grants[i]))
            return false;
    }
    return true;
}

static void release_rules(const struct write_rules *rules)
{
    for (size_t i = 0; i < rules->ngrants; i++) {
        if (rules->grants[i].rule && rules->grants[i].rule->table)
            table_unref(rules->grants[i].rule->table);
    }
}

/* ---- answers ----------------------------------------------------------- */

static void put_result(struct tool *t, int64_t id, const struct write_result *result)
{
    static const char *const statuses[] = {"again", "applied", "partly", "rejected"};

    buf_printf(&t->out,
               "{\"id\":%lld,\"status\":\"%s\",\"repeated\":%s,\"xid\":%u,\"lsn\":%llu,"
               "\"rejections\":[",
               (long long)id, statuses[result->status], result->repeated ? "true" : "false",
               result->xid, (unsigned long long)result->lsn);
    for (size_t i = 0; i < result->nrejections; i++) {
        const struct write_rejection *rejection = &result->rejections[i];

        buf_printf(&t->out, "%s{\"mutation\":%d,", i ? "," : "", rejection->mutation);
        put_member(t, "code", rejection->code);
        buf_put_u8(&t->out, ',');
        put_member(t, "sqlstate", rejection->sqlstate);
        buf_put_u8(&t->out, ',');
        put_member(t, "message", rejection->message);
        buf_put_u8(&t->out, '}');
    }
    buf_put_cstr(&t->out, "]}");
}

static void put_outcome(struct tool *t, const struct write_request *request,
                        const struct write_outcome *outcome)
{
    static const char *const answers[] = {"done", "fork", "forbidden", "crowded"};

    buf_printf(&t->out, "{\"outcome\":\"%s\",\"last\":%lld,\"schema_changed\":%s,\"results\":[",
               answers[outcome->answer], (long long)outcome->last_id,
               outcome->schema_changed ? "true" : "false");
    for (size_t i = 0; outcome->answer == WRITE_DONE && i < request->ntxns; i++) {
        if (i)
            buf_put_u8(&t->out, ',');
        put_result(t, request->txns[i].id, &outcome->results[i]);
    }
    buf_put_u8(&t->out, ']');
}

static void ask(struct tool *t, const struct write_rules *rules,
                const struct write_request *request)
{
    struct write_known known;

    if (!memory_ask(t->conn, request, rules->subject, &t->arena, &known, &t->err))
        put_error(t);
    else if (known.answer == WRITE_FORBIDDEN)
        buf_put_cstr(&t->out, "{\"outcome\":\"forbidden\"");
    else
        buf_printf(&t->out, "{\"decided\":%s,\"since\":%s", known.decided.ptr, known.since.ptr);
}

static int int_of(yyjson_val *object, const char *name, int otherwise)
{
    yyjson_val *v = yyjson_obj_get(object, name);

    return v ? yyjson_get_int(v) : otherwise;
}

static void apply(struct tool *t, yyjson_val *from, const struct write_rules *rules,
                  struct slice body)
{
    struct write_request_limits parse_limits = {10 << 20, 10000, 100000};
    struct write_limits limits = {.group = (size_t)int_of(from, "group", 50),
                                  .group_rows = 1000,
                                  .attempts = int_of(from, "attempts", 3),
                                  .lock_timeout_ms = int_of(from, "lock_timeout", 5000),
                                  .statement_timeout_ms = 30000,
                                  .replicas = int_of(from, "replicas", 0)};
    struct write_request request;
    struct write_invalid invalid;
    struct write_outcome outcome;

    if (!write_request_parse(body, &parse_limits, &t->arena, &request, &invalid)) {
        buf_put_u8(&t->out, '{');
        put_member(t, "invalid", slice_of(invalid.place));
        buf_put_u8(&t->out, ',');
        put_member(t, "message", slice_of(invalid.err.msg));
    } else if (request.decided) {
        ask(t, rules, &request);
    } else if (!write_apply(t->conn, rules, &request, &limits, &t->arena, &outcome, &t->err)) {
        put_error(t);
    } else {
        put_outcome(t, &request, &outcome);
    }
}

static void prune(struct tool *t, int64_t ms, int64_t replica_ms)
{
    if (memory_prune(t->conn, ms, replica_ms, &t->err))
        buf_put_cstr(&t->out, "{\"pruned\":true");
    else
        put_error(t);
}

static void run(struct tool *t, yyjson_val *line)
{
    yyjson_val *from = yyjson_obj_get(line, "rules");
    struct write_rules rules = {0};

    if (yyjson_obj_get(line, "prune"))
        prune(t, yyjson_get_sint(yyjson_obj_get(line, "prune")),
              yyjson_get_sint(yyjson_obj_get(line, "replicas")));
    else if (read_rules(t, from, &rules))
        apply(t, from, &rules, field(t, line, "body"));
    release_rules(&rules);
    buf_put_cstr(&t->out, "}\n");
}

int main(int argc, char **argv)
{
    struct tool t = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (argc != 2)
        return 2;
    t.conn = pg_connect(argv[1], "apply_write", false, &t.err);
    if (!t.conn || !write_tables_ensure(t.conn, &t.err)) {
        fprintf(stderr, "%s (%s)\n", t.err.msg, t.err.hint);
        pg_close(t.conn);
        return 1;
    }
    buf_init(&t.out, BUF_NO_LIMIT);
    while ((len = getline(&line, &cap, stdin)) > 0) {
        yyjson_doc *doc = yyjson_read(line, (size_t)len, 0);

        buf_clear(&t.out);
        run(&t, yyjson_doc_get_root(doc));
        yyjson_doc_free(doc);
        arena_reset(&t.arena);
        fwrite(t.out.ptr, 1, t.out.len, stdout);
        fflush(stdout);
    }
    buf_release(&t.out);
    arena_release(&t.arena);
    pg_close(t.conn);
    free(line);
    return 0;
}
