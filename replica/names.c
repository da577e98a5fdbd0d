#include "replica/names.h"

#include <strings.h>

static const char *const reserved[] = {"_tombolo_", "sqlite_", "_litestream"};

char *lite_local_name(const char *schema, const char *table, struct arena *arena, struct err *err)
{
    bool is_public = strcmp(schema, "public") == 0;
    char *name =
        arena_printf(arena, "%s%s%s", is_public ? "" : schema, is_public ? "" : "_", table);

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strncasecmp(name, reserved[i], strlen(reserved[i])) != 0)
            continue;
        err_set(err, ERR_INPUT, "table \"%s\": names that begin with \"%s\" are reserved", name,
                reserved[i]);
        return NULL;
    }
    return name;
}
