#include "http/watchers.h"
#include "base/arena.h"

#include <stdlib.h>

/* The watchers of one log. `cursor` is the next to be told while news is given out: who is removed
 * meanwhile moves it on. */
struct watched {
    struct log *log;
    struct watcher *first;
    struct watcher *cursor;
    bool telling;
};

static void wake_loop(struct log_listener *listener)
{
    http_loop_signal(((struct watchers *)listener)->loop);
}

static void drop(struct watchers *ws, struct watched *w)
{
    u64map_remove(&ws->logs, log_id(w->log));
    log_unwatch(ws->store, w->log, &ws->listener);
    log_unref(w->log);
    free(w);
}

static void tell(struct watchers *ws, struct watched *w)
{
    w->telling = true;
    w->cursor = w->first;
    while (w->cursor) {
        struct watcher *watcher = w->cursor;

        w->cursor = watcher->next;
        watcher->news(watcher);
    }
    w->telling = false;
    if (!w->first)
        drop(ws, w);
}

static void on_signal(struct http_loop *loop, void *arg)
{
    struct watchers *ws = arg;

    (void)loop;
    for (struct log *log; (log = log_listener_next(ws->store, &ws->listener));) {
        struct watched *w = u64map_get(&ws->logs, log_id(log));

        if (w)
            tell(ws, w);
        log_unref(log);
    }
}

bool watchers_init(struct watchers *ws, struct http_loop *loop, struct shapelog *store,
                   struct err *err)
{
    *ws = (struct watchers){.listener = {.wake = wake_loop}, .loop = loop, .store = store};
    http_loop_on_signal(loop, on_signal, ws);
    return shapelog_listen(store, &ws->listener, err);
}

void watchers_release(struct watchers *ws)
{
    shapelog_unlisten(ws->store, &ws->listener);
    u64map_release(&ws->logs);
}

void watchers_add(struct watchers *ws, struct log *log, struct watcher *watcher)
{
    struct watched *w = u64map_get(&ws->logs, log_id(log));

    if (!w) {
        w = xcalloc(1, sizeof(*w));
        w->log = log_ref(log);
        u64map_set(&ws->logs, log_id(log), w);
        log_watch(ws->store, log, &ws->listener);
    }
    watcher->watched = w;
    watcher->prev = NULL;
    watcher->next = w->first;
    if (w->first)
        w->first->prev = watcher;
    w->first = watcher;
}

void watchers_remove(struct watchers *ws, struct watcher *watcher)
{
    struct watched *w = watcher->watched;

    if (!w)
        return;
    if (w->cursor == watcher)
        w->cursor = watcher->next;
    if (watcher->prev)
        watcher->prev->next = watcher->next;
    else
        w->first = watcher->next;
    if (watcher->next)
        watcher->next->prev = watcher->prev;
    watcher->watched = NULL;
    if (!w->first && !w->telling)
        drop(ws, w);
}
