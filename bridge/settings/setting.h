/*
 * One row of the table of settings, and what its type can do. Private to this
 * room and its tests.
 */
#ifndef SETTINGS_SETTING_H
#define SETTINGS_SETTING_H

#include "base/buf.h"
#include "settings/config.h"

/* In brackets the field in struct config. */
enum setting_type {
    SETTING_TEXT,     /* not empty [char *] */
    SETTING_NAME,     /* part of an identifier in Postgres [char *] */
    SETTING_URL,      /* connection string; its passwords are masked [char *] */
    SETTING_SECRET,   /* never shown [char *] */
    SETTING_BOOL,     /* [bool] */
    SETTING_INT,      /* [int64_t] */
    SETTING_SIZE,     /* 10MB [int64_t bytes] */
    SETTING_DURATION, /* 30s [int64_t milliseconds] */
    SETTING_ADDRESS,  /* host:port [struct config_address] */
    SETTING_CHOICE,   /* [an enum of the choices, in their order] */
};

struct setting {
    const char *section, *name; /* in tombolo.ini */
    const char *env[3];         /* NULL-ended; the first that is set counts, so aliases come last */
    const char *flag;           /* without its dashes */
    enum setting_type type;
    size_t at;                  /* offset in struct config */
    const char *initial;        /* as text; where it is empty, so may be a given value */
    int64_t min, max;           /* INT, SIZE, DURATION */
    const char *const *choices; /* CHOICE; NULL-ended */
    bool reloadable;            /* may change while running; never a string or an address */
    const char *help;           /* a paragraph */
};

extern const struct setting settings[];
extern const size_t nsettings;

/* For tombolo.ini; NULL when there is none. */
const struct setting *setting_find(const char *section, const char *name);

static inline void *setting_field(const struct setting *setting, struct config *config)
{
    return (char *)config + setting->at;
}

static inline const void *setting_value(const struct setting *setting, const struct config *config)
{
    return (const char *)config + setting->at;
}

bool setting_is_secret(const struct setting *setting);
bool setting_is_string(const struct setting *setting);

/* Reads the text into the field, replacing what was there; false, and the field as it was, when
 * the text is not allowed. */
bool setting_parse(const struct setting *setting, const char *text,
                   struct config *config) MUST_CHECK;
/* Adds the value as text that setting_parse() takes; secrets masked. */
void setting_format(const struct setting *setting, const struct config *config, struct buf *out);
bool setting_equal(const struct setting *setting, const struct config *a, const struct config *b);
/* Adds what is allowed: "an integer from 1 to 64". */
void setting_allowed(const struct setting *setting, struct buf *out);
/* What stands for the value in help: "SIZE". */
const char *setting_placeholder(const struct setting *setting);

#endif
