#include "shapes/pgtype.h"

struct pgtype_info {
    uint32_t oid, arrayoid;
    const char *name, *array_name;
    char category;
    bool preferred;
};

static const struct pgtype_info infos[] = {
    [PG_UNKNOWN] = {705, 0, "unknown", "unknown[]", 'X', false},
#define X(symbol, oid, arrayoid, name, category, preferred)                                        \
    [symbol] = {oid, arrayoid, name, name "[]", category, preferred},
    PGTYPE_MAP(X)
#undef X
        [PG_OTHER] = {0, 0, "other", "other[]", '?', false},
};

#define BIT(type) (1ULL << (type))

/* pg_cast's implicit ones, as far as they start at a type that is evaluated. */
static const uint64_t implicit_casts[PG_OTHER] = {
    [PG_INT2] = BIT(PG_INT4) | BIT(PG_INT8) | BIT(PG_NUMERIC) | BIT(PG_FLOAT4) | BIT(PG_FLOAT8) |
                BIT(PG_OID),
    [PG_INT4] = BIT(PG_INT8) | BIT(PG_NUMERIC) | BIT(PG_FLOAT4) | BIT(PG_FLOAT8) | BIT(PG_OID),
    [PG_INT8] = BIT(PG_NUMERIC) | BIT(PG_FLOAT4) | BIT(PG_FLOAT8) | BIT(PG_OID),
    [PG_NUMERIC] = BIT(PG_FLOAT4) | BIT(PG_FLOAT8),
    [PG_FLOAT4] = BIT(PG_FLOAT8),
    [PG_TEXT] = BIT(PG_VARCHAR) | BIT(PG_BPCHAR) | BIT(PG_NAME),
    [PG_VARCHAR] = BIT(PG_TEXT) | BIT(PG_BPCHAR) | BIT(PG_NAME),
    [PG_BPCHAR] = BIT(PG_TEXT) | BIT(PG_VARCHAR) | BIT(PG_NAME),
    [PG_NAME] = BIT(PG_TEXT),
    [PG_DATE] = BIT(PG_TIMESTAMP) | BIT(PG_TIMESTAMPTZ),
    [PG_TIME] = BIT(PG_INTERVAL) | BIT(PG_TIMETZ),
    [PG_TIMESTAMP] = BIT(PG_TIMESTAMPTZ),
};

bool pgtype_is_known(int type)
{
    return pgtype_elem(type) >= PG_BOOL && pgtype_elem(type) < PG_OID;
}

bool pgtype_is_integer(int type)
{
    return type == PG_INT2 || type == PG_INT4 || type == PG_INT8;
}

bool pgtype_is_float(int type)
{
    return type == PG_FLOAT4 || type == PG_FLOAT8;
}

bool pgtype_is_text(int type)
{
    return type == PG_TEXT || type == PG_VARCHAR || type == PG_BPCHAR || type == PG_NAME;
}

bool pgtype_has_collation(int type)
{
    return pgtype_is_text(pgtype_elem(type));
}

const char *pgtype_name(int type)
{
    const struct pgtype_info *info = &infos[pgtype_elem(type)];

    return pgtype_is_array(type) ? info->array_name : info->name;
}

char pgtype_category(int type)
{
    return pgtype_is_array(type) ? 'A' : infos[type].category;
}

bool pgtype_is_preferred(int type)
{
    return !pgtype_is_array(type) && infos[type].preferred;
}

bool pgtype_coerces(int from, int to)
{
    if (from == to || from == PG_UNKNOWN)
        return true;
    if (pgtype_is_array(from) != pgtype_is_array(to) || !pgtype_is_known(from))
        return false;
    return pgtype_elem(to) < PG_OTHER && (implicit_casts[pgtype_elem(from)] & BIT(pgtype_elem(to)));
}

int pgtype_of_column(const struct table_column *column)
{
    for (int t = PG_BOOL; t < PG_OID; t++) {
        if (infos[t].oid == column->basetypid)
            return t;
        if (infos[t].arrayoid == column->basetypid)
            return t | PG_ARRAY;
    }
    return PG_OTHER;
}

int pgtype_by_name(struct slice name)
{
    for (int t = PG_BOOL; t < PG_OTHER; t++) {
        if (slice_is(name, infos[t].name))
            return t;
    }
    return -1;
}

bool pgtype_other_has_text(const struct table_column *column)
{
    /* json, oid, xid, point, lseg, path, box, polygon, line, circle, macaddr8, macaddr, timetz,
     * bit, varbit, pg_lsn, tsvector, tsquery, jsonb, jsonpath, xid8. Left out are those whose cast
     * to text is not their output: inet, cidr, "char", xml, the reg* types. */
    static const uint32_t oids[] = {114, 26,   28,   600,  601,  602,  603,  604,  628,  718, 774,
                                    829, 1266, 1560, 1562, 3220, 3614, 3615, 3802, 4072, 5069};

    if (column->class == TYPE_ENUM || column->class == TYPE_RANGE ||
        column->class == TYPE_MULTIRANGE)
        return true;
    for (size_t i = 0; i < sizeof(oids) / sizeof(oids[0]); i++) {
        if (oids[i] == column->basetypid)
            return true;
    }
    return false;
}

bool pgtype_other_is_scalar(const struct table_column *column)
{
    /* A domain's base may be a composite type of the user's: the catalogue does not say. */
    if (column->class == TYPE_DOMAIN)
        return column->basetypid < 16384 || column->elemtypid;
    return column->class != TYPE_COMPOSITE && column->class != TYPE_PSEUDO;
}
