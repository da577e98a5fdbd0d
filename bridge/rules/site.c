/*
 * The file's text is kept: rules are made anew from it when a table was
 * altered, though the file may have been edited since. So nothing that is in
 * force is ever written to.
 */
#include "rules/site.h"
#include "base/logging.h"
#include "rules/rules_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_MOST ((size_t)16 * 1024 * 1024)

/* What a file said when it was read. */
struct source {
    char *path; /* owned; NULL: no source */
    struct buf text;
};

struct rules_site {
    pthread_mutex_t mutex;
    struct rules *now;
    struct source of_now; /* what `now` was made from; belongs to whoever looks */
    struct source unseen; /* read since, and not held against the catalogue yet */
    char trouble[256];    /* why `now` was not found right, until it was */
    atomic_bool due;
    atomic_uint version;
};

/* ---- the file -------------------------------------------------------------------------------- */

static void source_release(struct source *source)
{
    if (source->path)
        buf_release(&source->text);
    free(source->path);
    source->path = NULL;
}

/* False leaves nothing to release. `path` "": there is no file, which says nothing. */
static bool source_read(struct source *source, const char *path, struct err *err)
{
    char bytes[8192];
    size_t n;
    FILE *file = fopen(*path ? path : "/dev/null", "re");

    *source = (struct source){.path = NULL};
    if (!file)
        return err_errno(err, ERR_CONFIG, "could not open %s", path);
    source->path = xstrdup(path);
    buf_init(&source->text, FILE_MOST);
    while ((n = fread(bytes, 1, sizeof(bytes), file)) > 0)
        buf_put(&source->text, bytes, n);
    bool ok = !ferror(file) || err_errno(err, ERR_CONFIG, "could not read %s", path);

    fclose(file);
    if (ok && source->text.failed)
        ok = err_set(err, ERR_CONFIG, "%s is too long", path);
    if (!ok)
        source_release(source);
    return ok;
}

static struct source source_copy(const struct source *source)
{
    struct source copy = {.path = xstrdup(source->path)};

    buf_init(&copy.text, FILE_MOST);
    buf_put_slice(&copy.text, buf_slice(&source->text));
    return copy;
}

static struct rules *parse(const struct source *source, struct err *err)
{
    const struct buf *text = &source->text;
    FILE *file = text->len ? fmemopen(text->ptr, text->len, "r") : fopen("/dev/null", "re");
    struct rules *rules = NULL;

    if (file)
        rules = rules_read(file, source->path, err);
    else
        err_errno(err, ERR_CONFIG, "could not read %s", source->path);
    if (file)
        fclose(file);
    return rules;
}

/* ---- the site -------------------------------------------------------------------------------- */

/* Whoever is told of it need not know in which folder the file is. */
static void note_trouble(struct rules_site *site, const struct source *source,
                         const struct err *err)
{
    const char *name = strrchr(source->path, '/'), *text = err->msg;

    if (name && strncmp(text, source->path, strlen(source->path)) == 0)
        text += name + 1 - source->path;
    pthread_mutex_lock(&site->mutex);
    snprintf(site->trouble, sizeof(site->trouble), "%.*s", (int)sizeof(site->trouble) - 1, text);
    pthread_mutex_unlock(&site->mutex);
}

bool rules_site_trouble(struct rules_site *site, char text[256])
{
    pthread_mutex_lock(&site->mutex);
    bool any = !site->now->checked && rules_have_writes(site->now);
    if (any)
        memcpy(text, site->trouble, sizeof(site->trouble));
    pthread_mutex_unlock(&site->mutex);
    return any;
}

struct rules_site *rules_site_open(const char *path, struct err *err)
{
    struct rules_site *site = xcalloc(1, sizeof(*site));

    pthread_mutex_init(&site->mutex, NULL);
    if (source_read(&site->unseen, path, err))
        site->now = parse(&site->unseen, err);
    if (!site->now) {
        rules_site_close(site);
        return NULL;
    }
    site->of_now = source_copy(&site->unseen);
    snprintf(site->trouble, sizeof(site->trouble),
             "the rules have not been held against the catalogue yet");
    atomic_store(&site->due, true);
    return site;
}

void rules_site_close(struct rules_site *site)
{
    if (!site)
        return;
    rules_unref(site->now);
    source_release(&site->of_now);
    source_release(&site->unseen);
    pthread_mutex_destroy(&site->mutex);
    free(site);
}

bool rules_site_reread(struct rules_site *site, const char *path, struct err *err)
{
    struct source source;

    if (!source_read(&source, path, err))
        return false;
    struct rules *rules = parse(&source, err);

    if (!rules) {
        source_release(&source);
        return false;
    }
    rules_unref(rules);
    pthread_mutex_lock(&site->mutex);
    source_release(&site->unseen);
    site->unseen = source;
    pthread_mutex_unlock(&site->mutex);
    atomic_store(&site->due, true);
    return true;
}

void rules_site_doubt(struct rules_site *site)
{
    atomic_store(&site->due, true);
}

bool rules_site_is_due(const struct rules_site *site)
{
    return atomic_load(&site->due);
}

/* What is to be looked at: what was read since, or what is in force. */
static struct source take_source(struct rules_site *site, bool *is_new)
{
    struct source source;

    pthread_mutex_lock(&site->mutex);
    source = site->unseen;
    site->unseen.path = NULL;
    pthread_mutex_unlock(&site->mutex);
    *is_new = source.path != NULL;
    return *is_new ? source : source_copy(&site->of_now);
}

/* Postgres could not be asked: another time, unless the file has been read once more by then. */
static void put_back(struct rules_site *site, struct source *source)
{
    pthread_mutex_lock(&site->mutex);
    if (!site->unseen.path) {
        site->unseen = *source;
        source->path = NULL;
    }
    pthread_mutex_unlock(&site->mutex);
}

static void come_into_force(struct rules_site *site, struct rules *rules, struct source *source)
{
    bool differ = !slice_eq(buf_slice(&source->text), buf_slice(&site->of_now.text));

    pthread_mutex_lock(&site->mutex);
    struct rules *before = site->now;
    site->now = rules;
    pthread_mutex_unlock(&site->mutex);
    /* Behind it: whoever has seen this version has these rules. */
    if (differ)
        atomic_fetch_add(&site->version, 1);
    if ((differ || !before->checked) && !rules_are_empty(rules))
        log_info("rules are in force", LOG_STR("file", source->path),
                 LOG_UINT("shapes", rules->shapes.len), LOG_UINT("writes", rules->writes.len));
    rules_unref(before);
    source_release(&site->of_now);
    site->of_now = *source;
    source->path = NULL;
}

bool rules_site_look(struct rules_site *site, struct pg_conn *conn, struct err *err)
{
    bool is_new;

    atomic_store(&site->due, false);
    struct source source = take_source(site, &is_new);
    struct rules *rules = parse(&source, err);
    bool ok =
        rules && rules_check(rules, conn, is_new || !site->now->checked ? NULL : site->now, err);

    if (ok) {
        come_into_force(site, rules, &source);
    } else {
        rules_unref(rules);
        note_trouble(site, &source, err);
        if (err->code != ERR_CONFIG) {
            if (is_new)
                put_back(site, &source);
            atomic_store(&site->due, true);
        }
    }
    source_release(&source);
    return ok;
}

const atomic_uint *rules_site_version(const struct rules_site *site)
{
    return &site->version;
}

struct rules *rules_site_get(struct rules_site *site)
{
    pthread_mutex_lock(&site->mutex);
    struct rules *rules = rules_ref(site->now);
    pthread_mutex_unlock(&site->mutex);
    return rules;
}
