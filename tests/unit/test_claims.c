#include "shapes/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

/* "text | a.b, c", or the error. */
static void put_split(const char *clause, struct buf *out)
{
    struct arena arena = {0};
    struct claims_clause split;
    struct err err;

    if (!claims_split(slice_of(clause), &arena, &split, &err)) {
        buf_put_cstr(out, err.msg);
    } else {
        buf_put_slice(out, split.text);
        for (size_t i = 0; i < split.n; i++) {
            buf_put_cstr(out, i ? ", " : " | ");
            for (size_t j = 0; j < split.claims[i].n; j++) {
                buf_put_cstr(out, j ? "." : "");
                buf_put_slice(out, split.claims[i].names[j]);
            }
        }
    }
    arena_release(&arena);
}

static void assert_split(const char *clause, const char *expected)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    put_split(clause, &out);
    assert_string_equal(buf_cstr(&out), expected);
    buf_release(&out);
}

static void test_claims_become_parameters(void **state)
{
    (void)state;
    assert_split("owner = auth.sub", "owner = ($1) | sub");
    assert_split("a = 1", "a = 1");
    assert_split("owner=auth.sub and team=any(auth.app.teams) and x <> auth.sub",
                 "owner=($1) and team=any(($2)) and x <> ($1) | sub, app.teams");
    assert_split("auth.b = b and a in (auth.a, auth.b)", "($1) = b and a in (($2), ($1)) | b, a");
    assert_split("owner = auth.sub::uuid", "owner = ($1)::uuid | sub");
    assert_split("auth.l[1] = a", "($1)[1] = a | l");
}

static void test_names_are_folded_unless_they_are_quoted(void **state)
{
    (void)state;
    assert_split("a = AUTH.Sub", "a = ($1) | sub");
    assert_split("a = auth.\"isAdmin\"", "a = ($1) | isAdmin");
    assert_split("a = auth.\"https://x.org/\"\"r\"\"\".\"a.b\" or true",
                 "a = ($1) or true | https://x.org/\"r\".a.b");
    assert_split("a = auth.n\xc3\xa9$1x", "a = ($1) | n\xc3\xa9$1x");
}

static void test_what_only_looks_like_a_claim_is_left_alone(void **state)
{
    (void)state;
    assert_split("a = 'auth.sub' and \"auth.sub\" = 1", "a = 'auth.sub' and \"auth.sub\" = 1");
    assert_split("auth = 1", "auth = 1");
    assert_split("a = 1 /* auth.sub */ -- auth.x", "a = 1 /* auth.sub */ -- auth.x");
    assert_split("public.t.a = 1", "public.t.a = 1");
    assert_split("a = $$auth.sub$$", "a = $$auth.sub$$");
}

static void test_what_cannot_be_split_says_where(void **state)
{
    (void)state;
    assert_split("a = auth . sub", "At location 4: write auth.CLAIM without space in it");
    assert_split("a = auth./* x */sub", "At location 4: write auth.CLAIM without space in it");
    assert_split("a = auth.*", "At location 4: auth must be followed by a claim's name");
    assert_split("a = auth.a.b.c.d.e.f.g.h.i", "At location 4: the claim has too many names");
    assert_split("a = $1 and b = auth.sub",
                 "At location 4: a clause that is configured has no parameters: name a claim, as "
                 "in auth.sub");
    assert_split("a = ; auth.sub", "At location 19: syntax error at or near \";\"");
}

static void test_a_clause_may_not_name_claims_without_end(void **state)
{
    struct buf clause, out;

    (void)state;
    buf_init(&clause, BUF_NO_LIMIT);
    buf_init(&out, BUF_NO_LIMIT);
    for (int i = 0; i < 300; i++)
        buf_put_cstr(&clause, i ? " or a = auth.x" : "a = auth.x");
    put_split(buf_cstr(&clause), &out);
    assert_non_null(strstr(buf_cstr(&out), "the clause names claims too often"));
    buf_release(&clause);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_become_parameters),
        cmocka_unit_test(test_names_are_folded_unless_they_are_quoted),
        cmocka_unit_test(test_what_only_looks_like_a_claim_is_left_alone),
        cmocka_unit_test(test_what_cannot_be_split_says_where),
        cmocka_unit_test(test_a_clause_may_not_name_claims_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
