/*
 * A file of keys as it was when it was read, and whether it may have changed since.
 * Private to this room.
 */
#ifndef TOKEN_SOURCE_H
#define TOKEN_SOURCE_H

#include "base/buf.h"

#include <sys/stat.h>

#define SOURCE_MAX ((size_t)1 << 20) /* bytes of a file */

struct source {
    char *path; /* NULL: there is none, and it is empty and never changes */
    struct buf text;
    bool readable;
    bool young; /* changed so shortly before it was read that times may not show the next change */
    struct stat stat;
};

/* The text is the file's; when it cannot be read, false, and the source is still one that can be
 * compared. To be released in any case. */
bool source_read(struct source *source, const char *path, struct err *err) MUST_CHECK;
void source_release(struct source *source);

/* Whether the file may be another one than was read; looks at its inode, size and times only. */
bool source_may_have_changed(const struct source *source);
/* Whether two readings gave the same. */
bool source_equal(const struct source *a, const struct source *b);

#endif
