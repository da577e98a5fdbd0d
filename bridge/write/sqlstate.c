#include "write/sqlstate.h"

#include <string.h>

/* What is not listed is refused: it stays with its replica, which is told; to try it for ever would
 * keep all others behind it. */
static const struct {
    const char *prefix;
    enum write_class class;
} classes[] = {
    {"08", WRITE_RECONNECT},    /* connection exceptions */
    {"25", WRITE_STOP},         /* transaction state; 25006: read only, after a failover */
    {"28", WRITE_STOP},         /* we may not log in */
    {"3D", WRITE_STOP},         /* no such database */
    {"40", WRITE_RETRY},        /* serialization, deadlock */
    {"40002", WRITE_PERMANENT}, /* a constraint, found by the whole transaction */
    {"40003", WRITE_RECONNECT}, /* statement completion unknown */
    {"53", WRITE_RECONNECT},    /* out of memory, connections */
    {"53100", WRITE_STOP},      /* disk full */
    {"55006", WRITE_RETRY},     /* object in use */
    {"55P03", WRITE_LATER},     /* lock not available */
    {"57014", WRITE_LATER},     /* cancelled: our own timeouts */
    {"57P", WRITE_RECONNECT},   /* shutting down, starting up, terminated */
    {"57P04", WRITE_STOP},      /* database dropped */
    {"58", WRITE_STOP},         /* system errors */
    {"F0", WRITE_STOP},         /* configuration file */
    {"XX", WRITE_STOP},         /* internal errors, corruption */
    {"72", WRITE_RETRY},        /* snapshot too old */
};

enum write_class write_class_of(const struct err *err)
{
    enum write_class class = WRITE_PERMANENT;
    size_t longest = 0;

    if (err->code == ERR_CONN)
        return WRITE_RECONNECT;
    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
        size_t len = strlen(classes[i].prefix);

        if (len > longest && strncmp(err->sqlstate, classes[i].prefix, len) == 0) {
            longest = len;
            class = classes[i].class;
        }
    }
    return class;
}

bool write_is_schema_change(const struct err *err)
{
    static const char *const states[] = {"42P01", "42703", "42704", "42804", "42883", "3F000"};

    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        if (strcmp(err->sqlstate, states[i]) == 0)
            return true;
    }
    return false;
}
