#include "kafka/subjects.h"

#include "kafka/posting.h"
#include "kafka/selection.h"

#include <stdlib.h>

static void free_subject(struct subject *s)
{
    if (!s)
        return;
    if (s->layout.table)
        layout_release(&s->layout);
    arena_release(&s->arena);
    free(s);
}

void subjects_clear(struct subjects *subjects)
{
    const struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&subjects->by_relid, &at));)
        free_subject(slot->value);
    u64map_release(&subjects->by_relid);
}

static void open_subject(const struct subjects *subjects, struct subject *s)
{
    const struct table *table = s->layout.table;
    struct buf topic;

    s->envelope = envelope_new(table, &subjects->origin->settings, &s->arena);
    s->tally = events_tally(subjects->events, table);
    buf_init(&topic, BUF_NO_LIMIT);
    posting_put_topic(subjects->prefix, table->nspname, table->relname, &topic);
    s->topic = arena_copy(&s->arena, buf_slice(&topic));
    buf_release(&topic);
}

static bool look_up(const struct subjects *subjects, struct subject *s, uint32_t xid,
                    struct err *err)
{
    if (!origin_ask(subjects->origin, err) ||
        !layout_make(subjects->origin->conn, s->relation, xid, &s->layout, err))
        return false;
    s->known = true;
    s->chosen = selection_has(subjects->tables, s->layout.table->nspname, s->layout.table->relname);
    if (s->chosen)
        open_subject(subjects, s);
    return true;
}

void subjects_set(struct subjects *subjects, const struct relation *relation)
{
    struct subject *s = xcalloc(1, sizeof(*s));

    s->relation = relation;
    free_subject(u64map_set(&subjects->by_relid, relation->relid, s));
}

bool subjects_get(struct subjects *subjects, uint32_t relid, uint32_t xid, struct subject **subject,
                  struct err *err)
{
    *subject = u64map_get(&subjects->by_relid, relid);
    return !*subject || (*subject)->known || look_up(subjects, *subject, xid, err);
}
