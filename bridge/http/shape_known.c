/*
 * Which wording of a request was resolved to which log, so that a request that comes again is
 * answered without asking Postgres what it means: also while Postgres is away, or busy with others.
 *
 * A wording is kept as a hash of 128 bits under a key of this process, so that a long one costs no
 * more than a short one and none can be made that is taken for another; a log by its handle, so
 * that nothing holds it when it has ended. There is room for some wordings of every log there is.
 * When it is used up, those of logs that ended go first, then those that were not asked for lately.
 */
#include "http/shape_private.h"

#include <pthread.h>
#include <stdlib.h>

#define ROOM_LEAST ((size_t)1024)
#define ROOM_A_LOG 2u

struct wording {
    uint64_t hi;
    bool used; /* since room was made last */
    size_t len;
    char handle[];
};

struct shape_known {
    struct hash_key key;
    pthread_mutex_t mutex;
    struct u64map wordings; /* lo -> struct wording */
    size_t room;
};

struct shape_known *shape_known_new(void)
{
    struct shape_known *known = xcalloc(1, sizeof(*known));

    hash_key_init(&known->key);
    pthread_mutex_init(&known->mutex, NULL);
    known->room = ROOM_LEAST;
    return known;
}

void shape_known_free(struct shape_known *known)
{
    struct u64map_slot *slot;

    if (!known)
        return;
    for (size_t at = 0; (slot = u64map_next(&known->wordings, &at));)
        free(slot->value);
    u64map_release(&known->wordings);
    pthread_mutex_destroy(&known->mutex);
    free(known);
}

/* ---- the wording ----------------------------------------------------------------------------- */

/* The length before each part, so that no two requests have one text. */
static void put_part(struct buf *out, struct slice part)
{
    buf_put_u8(out, part.ptr != NULL);
    buf_put_u32(out, (uint32_t)part.len);
    buf_put_slice(out, part);
}

struct hash128 shape_known_wording(const struct shape_known *known,
                                   const struct shape_request *request)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    put_part(&text, request->table);
    put_part(&text, request->where);
    put_part(&text, request->columns);
    put_part(&text, request->queryable);
    buf_put_u8(&text, (uint8_t)request->replica);
    buf_put_u8(&text, request->changes_only);
    buf_put_u8(&text, request->keyed_by_identity);
    for (size_t i = 0; i < request->params.n; i++)
        put_part(&text, request->params.values[i]);
    struct hash128 hash = hash_keyed(&known->key, buf_slice(&text));

    buf_release(&text);
    return hash;
}

/* ---- room; all of these holding the mutex ---------------------------------------------------- */

static struct log *log_of(struct shapelog *store, const struct wording *w)
{
    return shapelog_find(store, (struct slice){w->handle, w->len});
}

static bool is_dead(struct shapelog *store, const struct wording *w)
{
    struct log *log = log_of(store, w);

    if (log)
        log_unref(log);
    return !log;
}

enum sweep { SWEEP_DEAD, SWEEP_UNUSED, SWEEP_ANY };

/* Drops all that are dead, or of the others so many that a quarter of the room is free. */
static void sweep(struct shape_known *known, struct shapelog *store, enum sweep what)
{
    size_t enough = known->room - known->room / 4, left = known->wordings.len;
    struct u64map kept = {0};
    struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&known->wordings, &at));) {
        struct wording *w = slot->value;
        bool drop = what == SWEEP_DEAD ? is_dead(store, w)
                                       : left > enough && (what == SWEEP_ANY || !w->used);

        if (drop) {
            free(w);
            left--;
            continue;
        }
        w->used &= what == SWEEP_DEAD;
        u64map_set(&kept, slot->key, w);
    }
    u64map_release(&known->wordings);
    known->wordings = kept;
}

static void make_room(struct shape_known *known, struct shapelog *store)
{
    struct shapelog_stats stats;

    if (known->wordings.len < known->room)
        return;
    shapelog_get_stats(store, &stats);
    known->room = ROOM_LEAST + ROOM_A_LOG * (size_t)stats.logs;
    for (int what = SWEEP_DEAD; what <= SWEEP_ANY; what++) {
        if (known->wordings.len > known->room - known->room / 4)
            sweep(known, store, (enum sweep)what);
    }
}

/* ---- from wording to log --------------------------------------------------------------------- */

struct log *shape_known_find(struct shape_known *known, struct shapelog *store,
                             struct hash128 wording)
{
    struct log *log = NULL;

    pthread_mutex_lock(&known->mutex);
    struct wording *w = u64map_get(&known->wordings, wording.lo);
    if (w && w->hi == wording.hi) {
        w->used = true;
        log = log_of(store, w);
    }
    pthread_mutex_unlock(&known->mutex);
    return log;
}

void shape_known_note(struct shape_known *known, struct shapelog *store, struct hash128 wording,
                      const struct log *log)
{
    struct slice handle = log_handle(log);
    struct wording *w = xmalloc(sizeof(*w) + handle.len);

    w->hi = wording.hi;
    w->used = false;
    w->len = handle.len;
    memcpy(w->handle, handle.ptr, handle.len);
    pthread_mutex_lock(&known->mutex);
    make_room(known, store);
    free(u64map_set(&known->wordings, wording.lo, w));
    pthread_mutex_unlock(&known->mutex);
}
