/*
 * Matching goes forward; at a % it remembers where it was, and on a mismatch
 * goes back to the last % and lets it take one character more. An earlier %
 * need never be gone back to: whatever it could take, the last one can too.
 */
#include "shapes/like.h"
#include "shapes/raise.h"

static size_t char_len(const char *p, const char *end, enum like_unit unit)
{
    size_t n = 1;

    while (unit == LIKE_UTF8 && p + n < end && ((unsigned char)p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static bool ends_with_escape(struct err *err)
{
    return raise_sql(err, "22025", "LIKE pattern must not end with escape character");
}

/* One literal byte, escaped or not, at the pattern's *p; steps over it when it is `c`. */
static bool step_literal(const char **p, char c)
{
    const char *at = *p + (**p == '\\');

    if (*at != c)
        return false;
    *p = at + 1;
    return true;
}

struct like {
    const char *t, *t_end, *p, *p_end;
    const char *back_t, *back_p; /* where to go on after the last %; back_p is NULL before one */
    enum like_unit unit;
};

/* Goes over a run of % and _; false when the text is too short for the _s. */
static bool step_percent(struct like *m)
{
    for (; m->p < m->p_end && (*m->p == '%' || *m->p == '_'); m->p++) {
        if (*m->p == '%')
            continue;
        if (m->t == m->t_end)
            return false;
        m->t += char_len(m->t, m->t_end, m->unit);
    }
    m->back_t = m->t;
    m->back_p = m->p;
    return true;
}

/* Takes one character more into the last %. */
static bool step_back(struct like *m)
{
    if (!m->back_p || m->back_t == m->t_end)
        return false;
    m->back_t += char_len(m->back_t, m->t_end, m->unit);
    m->t = m->back_t;
    m->p = m->back_p;
    return true;
}

static bool lone_escape(const struct like *m)
{
    return m->p < m->p_end && *m->p == '\\' && m->p + 1 == m->p_end;
}

bool like_match(struct slice text, struct slice pattern, enum like_unit unit, bool *matches,
                struct err *err)
{
    struct like m = {.t = text.ptr,
                     .t_end = text.ptr + text.len,
                     .p = pattern.ptr,
                     .p_end = pattern.ptr + pattern.len,
                     .unit = unit};

    *matches = false;
    for (;;) {
        if (m.t == m.t_end) {
            /* What is left of the pattern must be able to match nothing. */
            while (m.p < m.p_end && *m.p == '%')
                m.p++;
            *matches = m.p == m.p_end;
            return true;
        }
        if (m.p < m.p_end && *m.p == '%') {
            if (!step_percent(&m))
                return true;
            if (m.p == m.p_end) {
                *matches = true;
                return true;
            }
            if (lone_escape(&m))
                return ends_with_escape(err);
        } else if (lone_escape(&m)) {
            return ends_with_escape(err);
        } else if (m.p < m.p_end && *m.p == '_') {
            m.t += char_len(m.t, m.t_end, unit);
            m.p++;
        } else if (m.p < m.p_end && step_literal(&m.p, *m.t)) {
            m.t++;
        } else if (!step_back(&m)) {
            return true;
        }
    }
}
