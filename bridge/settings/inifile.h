/*
 * Reads an .ini file, with libinih:
 *
 *     ; a comment, at the beginning of a line also with #
 *     [section]
 *     name = value            ; comments may stand behind, after a space
 *     long = begins here and \
 *            ends here        (what is joined is "begins here andends here")
 *
 * Indentation means nothing. A line holds at most INIFILE_LINE bytes without
 * its indentation and comment, since libinih cuts at that without a word; the
 * name of a section or an entry at most INIFILE_NAME, for the same reason.
 * For this room and for rules/, which reads sections of its own.
 */
#ifndef SETTINGS_INIFILE_H
#define SETTINGS_INIFILE_H

#include "base/err.h"

#include <stdio.h>

#define INIFILE_LINE 190
#define INIFILE_NAME 49
#define INIFILE_VALUE ((size_t)16384)

struct inifile_entry {
    const char *section, *name, *value; /* valid during the call */
    int line;                           /* of its name, from 1 */
};

/* Gets each entry in order; false, with *err set, ends the reading. */
typedef bool inifile_take_fn(void *arg, const struct inifile_entry *entry, struct err *err);

/* Whether the section is of rules/, which reads the file for itself: [shape ...], [write ...]. */
bool inifile_is_rule(const char *section);

/* `path` is for messages. Fails with ERR_CONFIG and "path:line: ...". */
bool inifile_read(FILE *file, const char *path, inifile_take_fn *take, void *arg,
                  struct err *err) MUST_CHECK;

#endif
