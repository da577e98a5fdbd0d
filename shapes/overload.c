#include "shapes/overload.h"

/* pg_operator, as far as it has to do with types of pgtype.h; the same in Postgres 14 to 18. */
static const struct signature compare_sigs[] = {{{PG_BIT, PG_BIT}},
                                                {{PG_BOOL, PG_BOOL}},
                                                {{PG_BPCHAR, PG_BPCHAR}},
                                                {{PG_BYTEA, PG_BYTEA}},
                                                {{PG_DATE, PG_DATE}},
                                                {{PG_DATE, PG_TIMESTAMP}},
                                                {{PG_DATE, PG_TIMESTAMPTZ}},
                                                {{PG_FLOAT4, PG_FLOAT4}},
                                                {{PG_FLOAT4, PG_FLOAT8}},
                                                {{PG_FLOAT8, PG_FLOAT4}},
                                                {{PG_FLOAT8, PG_FLOAT8}},
                                                {{PG_INET, PG_INET}},
                                                {{PG_INT2, PG_INT2}},
                                                {{PG_INT2, PG_INT4}},
                                                {{PG_INT2, PG_INT8}},
                                                {{PG_INT4, PG_INT2}},
                                                {{PG_INT4, PG_INT4}},
                                                {{PG_INT4, PG_INT8}},
                                                {{PG_INT8, PG_INT2}},
                                                {{PG_INT8, PG_INT4}},
                                                {{PG_INT8, PG_INT8}},
                                                {{PG_INTERVAL, PG_INTERVAL}},
                                                {{PG_JSONB, PG_JSONB}},
                                                {{PG_MACADDR, PG_MACADDR}},
                                                {{PG_MONEY, PG_MONEY}},
                                                {{PG_NAME, PG_NAME}},
                                                {{PG_NAME, PG_TEXT}},
                                                {{PG_NUMERIC, PG_NUMERIC}},
                                                {{PG_OID, PG_OID}},
                                                {{PG_PG_LSN, PG_PG_LSN}},
                                                {{PG_TEXT, PG_NAME}},
                                                {{PG_TEXT, PG_TEXT}},
                                                {{PG_TIME, PG_TIME}},
                                                {{PG_TIMESTAMP, PG_DATE}},
                                                {{PG_TIMESTAMP, PG_TIMESTAMP}},
                                                {{PG_TIMESTAMP, PG_TIMESTAMPTZ}},
                                                {{PG_TIMESTAMPTZ, PG_DATE}},
                                                {{PG_TIMESTAMPTZ, PG_TIMESTAMP}},
                                                {{PG_TIMESTAMPTZ, PG_TIMESTAMPTZ}},
                                                {{PG_TIMETZ, PG_TIMETZ}},
                                                {{PG_TSQUERY, PG_TSQUERY}},
                                                {{PG_UUID, PG_UUID}},
                                                {{PG_VARBIT, PG_VARBIT}}};
static const struct signature plus_sigs[] = {
    {{PG_NONE, PG_FLOAT4}},        {{PG_NONE, PG_FLOAT8}},
    {{PG_NONE, PG_INT2}},          {{PG_NONE, PG_INT4}},
    {{PG_NONE, PG_INT8}},          {{PG_NONE, PG_NUMERIC}},
    {{PG_BOX, PG_POINT}},          {{PG_DATE, PG_INT4}},
    {{PG_DATE, PG_INTERVAL}},      {{PG_DATE, PG_TIME}},
    {{PG_DATE, PG_TIMETZ}},        {{PG_FLOAT4, PG_FLOAT4}},
    {{PG_FLOAT4, PG_FLOAT8}},      {{PG_FLOAT8, PG_FLOAT4}},
    {{PG_FLOAT8, PG_FLOAT8}},      {{PG_INET, PG_INT8}},
    {{PG_INT2, PG_INT2}},          {{PG_INT2, PG_INT4}},
    {{PG_INT2, PG_INT8}},          {{PG_INT4, PG_DATE}},
    {{PG_INT4, PG_INT2}},          {{PG_INT4, PG_INT4}},
    {{PG_INT4, PG_INT8}},          {{PG_INT8, PG_INET}},
    {{PG_INT8, PG_INT2}},          {{PG_INT8, PG_INT4}},
    {{PG_INT8, PG_INT8}},          {{PG_INTERVAL, PG_DATE}},
    {{PG_INTERVAL, PG_INTERVAL}},  {{PG_INTERVAL, PG_TIME}},
    {{PG_INTERVAL, PG_TIMESTAMP}}, {{PG_INTERVAL, PG_TIMESTAMPTZ}},
    {{PG_INTERVAL, PG_TIMETZ}},    {{PG_MONEY, PG_MONEY}},
    {{PG_NUMERIC, PG_NUMERIC}},    {{PG_NUMERIC, PG_PG_LSN}},
    {{PG_PG_LSN, PG_NUMERIC}},     {{PG_POINT, PG_POINT}},
    {{PG_TIME, PG_DATE}},          {{PG_TIME, PG_INTERVAL}},
    {{PG_TIMESTAMP, PG_INTERVAL}}, {{PG_TIMESTAMPTZ, PG_INTERVAL}},
    {{PG_TIMETZ, PG_DATE}},        {{PG_TIMETZ, PG_INTERVAL}}};
static const struct signature minus_sigs[] = {{{PG_NONE, PG_FLOAT4}},
                                              {{PG_NONE, PG_FLOAT8}},
                                              {{PG_NONE, PG_INT2}},
                                              {{PG_NONE, PG_INT4}},
                                              {{PG_NONE, PG_INT8}},
                                              {{PG_NONE, PG_INTERVAL}},
                                              {{PG_NONE, PG_NUMERIC}},
                                              {{PG_BOX, PG_POINT}},
                                              {{PG_DATE, PG_DATE}},
                                              {{PG_DATE, PG_INT4}},
                                              {{PG_DATE, PG_INTERVAL}},
                                              {{PG_FLOAT4, PG_FLOAT4}},
                                              {{PG_FLOAT4, PG_FLOAT8}},
                                              {{PG_FLOAT8, PG_FLOAT4}},
                                              {{PG_FLOAT8, PG_FLOAT8}},
                                              {{PG_INET, PG_INET}},
                                              {{PG_INET, PG_INT8}},
                                              {{PG_INT2, PG_INT2}},
                                              {{PG_INT2, PG_INT4}},
                                              {{PG_INT2, PG_INT8}},
                                              {{PG_INT4, PG_INT2}},
                                              {{PG_INT4, PG_INT4}},
                                              {{PG_INT4, PG_INT8}},
                                              {{PG_INT8, PG_INT2}},
                                              {{PG_INT8, PG_INT4}},
                                              {{PG_INT8, PG_INT8}},
                                              {{PG_INTERVAL, PG_INTERVAL}},
                                              {{PG_JSONB, PG_INT4}},
                                              {{PG_JSONB, PG_TEXT}},
                                              {{PG_MONEY, PG_MONEY}},
                                              {{PG_NUMERIC, PG_NUMERIC}},
                                              {{PG_PG_LSN, PG_NUMERIC}},
                                              {{PG_PG_LSN, PG_PG_LSN}},
                                              {{PG_POINT, PG_POINT}},
                                              {{PG_TIME, PG_INTERVAL}},
                                              {{PG_TIME, PG_TIME}},
                                              {{PG_TIMESTAMP, PG_INTERVAL}},
                                              {{PG_TIMESTAMP, PG_TIMESTAMP}},
                                              {{PG_TIMESTAMPTZ, PG_INTERVAL}},
                                              {{PG_TIMESTAMPTZ, PG_TIMESTAMPTZ}},
                                              {{PG_TIMETZ, PG_INTERVAL}}};
static const struct signature times_sigs[] = {
    {{PG_BOX, PG_POINT}},       {{PG_FLOAT4, PG_FLOAT4}}, {{PG_FLOAT4, PG_FLOAT8}},
    {{PG_FLOAT4, PG_MONEY}},    {{PG_FLOAT8, PG_FLOAT4}}, {{PG_FLOAT8, PG_FLOAT8}},
    {{PG_FLOAT8, PG_INTERVAL}}, {{PG_FLOAT8, PG_MONEY}},  {{PG_INT2, PG_INT2}},
    {{PG_INT2, PG_INT4}},       {{PG_INT2, PG_INT8}},     {{PG_INT2, PG_MONEY}},
    {{PG_INT4, PG_INT2}},       {{PG_INT4, PG_INT4}},     {{PG_INT4, PG_INT8}},
    {{PG_INT4, PG_MONEY}},      {{PG_INT8, PG_INT2}},     {{PG_INT8, PG_INT4}},
    {{PG_INT8, PG_INT8}},       {{PG_INT8, PG_MONEY}},    {{PG_INTERVAL, PG_FLOAT8}},
    {{PG_MONEY, PG_FLOAT4}},    {{PG_MONEY, PG_FLOAT8}},  {{PG_MONEY, PG_INT2}},
    {{PG_MONEY, PG_INT4}},      {{PG_MONEY, PG_INT8}},    {{PG_NUMERIC, PG_NUMERIC}},
    {{PG_POINT, PG_POINT}}};
static const struct signature divide_sigs[] = {
    {{PG_BOX, PG_POINT}},       {{PG_FLOAT4, PG_FLOAT4}}, {{PG_FLOAT4, PG_FLOAT8}},
    {{PG_FLOAT8, PG_FLOAT4}},   {{PG_FLOAT8, PG_FLOAT8}}, {{PG_INT2, PG_INT2}},
    {{PG_INT2, PG_INT4}},       {{PG_INT2, PG_INT8}},     {{PG_INT4, PG_INT2}},
    {{PG_INT4, PG_INT4}},       {{PG_INT4, PG_INT8}},     {{PG_INT8, PG_INT2}},
    {{PG_INT8, PG_INT4}},       {{PG_INT8, PG_INT8}},     {{PG_INTERVAL, PG_FLOAT8}},
    {{PG_MONEY, PG_FLOAT4}},    {{PG_MONEY, PG_FLOAT8}},  {{PG_MONEY, PG_INT2}},
    {{PG_MONEY, PG_INT4}},      {{PG_MONEY, PG_INT8}},    {{PG_MONEY, PG_MONEY}},
    {{PG_NUMERIC, PG_NUMERIC}}, {{PG_POINT, PG_POINT}}};
static const struct signature power_sigs[] = {{{PG_FLOAT8, PG_FLOAT8}}, {{PG_NUMERIC, PG_NUMERIC}}};
static const struct signature sqrt_sigs[] = {{{PG_NONE, PG_FLOAT8}}};
static const struct signature abs_sigs[] = {{{PG_NONE, PG_FLOAT4}}, {{PG_NONE, PG_FLOAT8}},
                                            {{PG_NONE, PG_INT2}},   {{PG_NONE, PG_INT4}},
                                            {{PG_NONE, PG_INT8}},   {{PG_NONE, PG_NUMERIC}}};
static const struct signature bits_sigs[] = {{{PG_BIT, PG_BIT}},   {{PG_INET, PG_INET}},
                                             {{PG_INT2, PG_INT2}}, {{PG_INT4, PG_INT4}},
                                             {{PG_INT8, PG_INT8}}, {{PG_MACADDR, PG_MACADDR}}};
static const struct signature xor_sigs[] = {{{PG_BIT, PG_BIT}},
                                            {{PG_BOX, PG_BOX}},
                                            {{PG_INT2, PG_INT2}},
                                            {{PG_INT4, PG_INT4}},
                                            {{PG_INT8, PG_INT8}}};
static const struct signature tilde_sigs[] = {
    {{PG_NONE, PG_BIT}},    {{PG_NONE, PG_INET}}, {{PG_NONE, PG_INT2}},
    {{PG_NONE, PG_INT4}},   {{PG_NONE, PG_INT8}}, {{PG_NONE, PG_MACADDR}},
    {{PG_BPCHAR, PG_TEXT}}, {{PG_NAME, PG_TEXT}}, {{PG_TEXT, PG_TEXT}}};
static const struct signature like_sigs[] = {
    {{PG_BPCHAR, PG_TEXT}}, {{PG_BYTEA, PG_BYTEA}}, {{PG_NAME, PG_TEXT}}, {{PG_TEXT, PG_TEXT}}};
static const struct signature ilike_sigs[] = {
    {{PG_BPCHAR, PG_TEXT}}, {{PG_NAME, PG_TEXT}}, {{PG_TEXT, PG_TEXT}}};

static const struct {
    const char *name;
    const struct signature *sigs;
    size_t n;
} operators[] = {
#define OPERATOR(name, sigs)                                                                       \
    {                                                                                              \
        name, sigs, sizeof(sigs) / sizeof((sigs)[0])                                               \
    }
    OPERATOR("=", compare_sigs),  OPERATOR("<>", compare_sigs), OPERATOR("<", compare_sigs),
    OPERATOR("<=", compare_sigs), OPERATOR(">", compare_sigs),  OPERATOR(">=", compare_sigs),
    OPERATOR("+", plus_sigs),     OPERATOR("-", minus_sigs),    OPERATOR("*", times_sigs),
    OPERATOR("/", divide_sigs),   OPERATOR("^", power_sigs),    OPERATOR("|/", sqrt_sigs),
    OPERATOR("@", abs_sigs),      OPERATOR("&", bits_sigs),     OPERATOR("|", bits_sigs),
    OPERATOR("#", xor_sigs),      OPERATOR("~", tilde_sigs),    OPERATOR("~~", like_sigs),
    OPERATOR("~~*", ilike_sigs),  OPERATOR("!~~", like_sigs),   OPERATOR("!~~*", ilike_sigs),
#undef OPERATOR
};

bool operator_exists(const char *name, bool prefix)
{
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        bool named = strcmp(operators[i].name, name) == 0;

        for (size_t j = 0; named && j < operators[i].n; j++) {
            if ((operators[i].sigs[j].args[0] == PG_NONE) == prefix)
                return true;
        }
    }
    return false;
}

bool operator_is_compare(const char *name, enum cmp_op *op)
{
    static const char *const names[] = {[CMP_EQ] = "=",  [CMP_NE] = "<>", [CMP_LT] = "<",
                                        [CMP_LE] = "<=", [CMP_GT] = ">",  [CMP_GE] = ">="};

    for (int i = CMP_EQ; i <= CMP_GE; i++) {
        if (strcmp(names[i], name) == 0) {
            *op = (enum cmp_op)i;
            return true;
        }
    }
    return false;
}

/* ---- the choice -------------------------------------------------------- */

/* Candidates still in the running. */
struct field {
    struct signature sigs[64];
    size_t n;
    const int *types;
};

static bool fits(const struct signature *sig, const int types[2])
{
    for (int i = 0; i < 2; i++) {
        if ((sig->args[i] == PG_NONE) != (types[i] == PG_NONE))
            return false;
        if (types[i] != PG_NONE && !pgtype_coerces(types[i], sig->args[i]))
            return false;
    }
    return true;
}

/* How many arguments need no conversion or, with `or_preferred`, go to their category's preferred
 * type. */
static int score(const struct signature *sig, const int types[2], bool or_preferred)
{
    int n = 0;

    for (int i = 0; i < 2; i++) {
        if (types[i] == PG_UNKNOWN || types[i] == PG_NONE)
            continue;
        n += sig->args[i] == types[i] ||
             (or_preferred && pgtype_is_preferred(sig->args[i]) &&
              pgtype_category(sig->args[i]) == pgtype_category(types[i]));
    }
    return n;
}

static void keep_best(struct field *f, bool or_preferred)
{
    int best = 0;
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++) {
        int s = score(&f->sigs[i], f->types, or_preferred);

        if (s > best) {
            best = s;
            kept = 0;
        }
        if (s == best)
            f->sigs[kept++] = f->sigs[i];
    }
    f->n = kept;
}

/* The category that an unknown argument counts as: string if any candidate takes one there, else
 * the one they agree on. */
static bool unknown_category(const struct field *f, int arg, char *category, bool *preferred)
{
    bool agree = true;

    *category = pgtype_category(f->sigs[0].args[arg]);
    *preferred = false;
    for (size_t i = 0; i < f->n; i++) {
        char c = pgtype_category(f->sigs[i].args[arg]);

        if (c == 'S' && *category != 'S') {
            *category = 'S';
            *preferred = false;
        } else if (c != *category) {
            agree = false;
        }
        if (c == *category)
            *preferred |= pgtype_is_preferred(f->sigs[i].args[arg]);
    }
    return agree || *category == 'S';
}

static bool keep_categories(struct field *f)
{
    char category[2] = {0};
    bool preferred[2] = {false};
    struct field left = {.types = f->types};

    for (int arg = 0; arg < 2; arg++) {
        if (f->types[arg] == PG_UNKNOWN &&
            !unknown_category(f, arg, &category[arg], &preferred[arg]))
            return false;
    }
    for (size_t i = 0; i < f->n; i++) {
        bool keep = true;

        for (int arg = 0; arg < 2; arg++) {
            if (f->types[arg] != PG_UNKNOWN)
                continue;
            keep &= pgtype_category(f->sigs[i].args[arg]) == category[arg] &&
                    (!preferred[arg] || pgtype_is_preferred(f->sigs[i].args[arg]));
        }
        if (keep)
            left.sigs[left.n++] = f->sigs[i];
    }
    if (left.n > 0)
        *f = left;
    return true;
}

/* The last resort: the unknown argument is of the known one's type. */
static bool choose_same(const struct field *f, struct signature *out)
{
    int known = f->types[0] == PG_UNKNOWN ? f->types[1] : f->types[0];
    const int types[2] = {known, known};
    size_t found = 0;

    if (known == PG_UNKNOWN || known == PG_NONE || f->types[0] == PG_NONE)
        return false;
    for (size_t i = 0; i < f->n; i++) {
        if (fits(&f->sigs[i], types)) {
            *out = f->sigs[i];
            found++;
        }
    }
    return found == 1;
}

bool overload_choose(const struct signature *candidates, size_t n, const int types[2],
                     struct signature *out)
{
    struct field f = {.types = types};

    for (size_t i = 0; i < n; i++) {
        if (fits(&candidates[i], types))
            f.sigs[f.n++] = candidates[i];
    }
    if (f.n > 1)
        keep_best(&f, false);
    if (f.n > 1)
        keep_best(&f, true);
    if (f.n > 1 && (types[0] == PG_UNKNOWN || types[1] == PG_UNKNOWN)) {
        if (keep_categories(&f) && f.n == 1) {
            *out = f.sigs[0];
            return true;
        }
        return choose_same(&f, out);
    }
    if (f.n != 1)
        return false;
    *out = f.sigs[0];
    return true;
}

/* The very types, an unknown one taken to be as the other. */
static bool choose_exact(const struct signature *sigs, size_t n, const int types[2],
                         struct signature *out)
{
    int left = types[0] == PG_UNKNOWN ? types[1] : types[0];
    int right = types[1] == PG_UNKNOWN && types[0] != PG_NONE ? types[0] : types[1];

    for (size_t i = 0; i < n; i++) {
        if (sigs[i].args[0] == left && sigs[i].args[1] == right) {
            *out = sigs[i];
            return true;
        }
    }
    return false;
}

bool operator_choose(const char *name, const int types[2], struct signature *out)
{
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (strcmp(operators[i].name, name) != 0)
            continue;
        return choose_exact(operators[i].sigs, operators[i].n, types, out) ||
               overload_choose(operators[i].sigs, operators[i].n, types, out);
    }
    return false;
}
