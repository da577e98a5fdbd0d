#include "kafka/setback.h"

#include "base/clock.h"

#define PAUSE_FIRST_MS 1000
#define PAUSE_MOST_MS 60000

void setback_init(struct setback *s)
{
    pthread_mutex_init(&s->mutex, NULL);
}

void setback_release(struct setback *s)
{
    pthread_mutex_destroy(&s->mutex);
}

static void set_err(struct setback *s, struct err err)
{
    pthread_mutex_lock(&s->mutex);
    s->err = err;
    pthread_mutex_unlock(&s->mutex);
}

void setback_note(struct setback *s, const struct err *err)
{
    set_err(s, *err);
    s->pause_ms = s->pause_ms ? s->pause_ms * 2 : PAUSE_FIRST_MS;
    if (s->pause_ms > PAUSE_MOST_MS)
        s->pause_ms = PAUSE_MOST_MS;
    s->retry_at = clock_ms() + s->pause_ms;
}

bool setback_is_over(struct setback *s)
{
    if (!s->retry_at || clock_ms() < s->retry_at)
        return false;
    s->retry_at = 0;
    return true;
}

void setback_clear(struct setback *s)
{
    if (s->pause_ms == 0)
        return;
    s->pause_ms = 0;
    s->retry_at = 0;
    set_err(s, (struct err){0});
}

bool setback_is_waiting(const struct setback *s)
{
    return s->retry_at != 0;
}

bool setback_get(struct setback *s, struct err *err)
{
    pthread_mutex_lock(&s->mutex);
    *err = s->err;
    pthread_mutex_unlock(&s->mutex);
    return err->code != ERR_NONE;
}
