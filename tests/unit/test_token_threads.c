/* Verification from several threads while keys are exchanged under them. */
#include "base/clock.h"
#include "token_kit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define VERIFIERS 3
#define ROUNDS 60
#define GOING 32

struct race {
    struct token_keys *keys;
    struct slice stays, forged;
    struct slice goes[GOING]; /* too many for the cache: there is always one under verification */
    atomic_bool done;
    atomic_ulong turns[VERIFIERS];
    atomic_int threads;
    atomic_int failures, refused;
};

static bool verify_one(struct race *race, struct slice jwt)
{
    struct arena arena = {0};
    struct err err;
    struct token *token;

    if (!token_verify(race->keys, jwt, NOW, &token, &err))
        return false;
    struct token *other = token_ref(token);
    token_unref(token);
    if (!slice_is(token_claim(other, SLICE("sub"), &arena).text, "ann") ||
        token_expires(other) != 1700000130)
        atomic_fetch_add(&race->failures, 1);
    token_unref(other);
    arena_release(&arena);
    return true;
}

static void *run_verifier(void *arg)
{
    struct race *race = arg;
    int self = atomic_fetch_add(&race->threads, 1);

    for (size_t i = 0; !atomic_load(&race->done); i++) {
        if (!verify_one(race, race->stays) || verify_one(race, race->forged))
            atomic_fetch_add(&race->failures, 1);
        if (!verify_one(race, race->goes[i % GOING]))
            atomic_fetch_add(&race->refused, 1);
        atomic_fetch_add(&race->turns[self], 1);
    }
    return NULL;
}

/* Until what each was in the middle of is done. */
static void await_turns(struct race *race)
{
    for (int i = 0; i < VERIFIERS; i++) {
        unsigned long before = atomic_load(&race->turns[i]);

        for (int64_t end = clock_ms() + 30000; atomic_load(&race->turns[i]) == before;) {
            assert_true(clock_ms() < end);
            sched_yield();
        }
    }
}

/* At once, and when nobody is left who began before. */
static void assert_gone(struct race *race)
{
    for (int i = 0; i < 2 * GOING; i++) {
        if (i == GOING)
            await_turns(race);
        assert_false(is_taken(race->keys, race->goes[i % GOING]));
    }
}

static void put_file(const char *path, const char *text)
{
    const char *fresh = file_with(text);

    assert_int_equal(rename(fresh, path), 0);
}

static void test_reloads_under_verification_never_lose_or_invent_a_key(void **state)
{
    struct signer stays = signer_new("HS256"), goes = signer_new("EdDSA");
    struct signer stranger = signer_new("EdDSA");
    const char *with =
        arena_printf(&kit_arena, "{\"keys\":[{%s,\"kid\":\"s\"},{%s,\"kid\":\"g\"}]}",
                     jwk_of(stays), jwk_of(goes));
    const char *without = jwks_of(stays, "s");
    struct race race = {0};
    pthread_t threads[VERIFIERS];
    struct token_config config;
    struct err err;

    (void)state;
    token_config_init(&config);
    config.cached = 8;
    config.jwks_file = file_with(with);
    race.keys = open_keys(&config);
    race.stays = token_with_kid(stays, "s", GOOD);
    race.forged = token_with_kid(stranger, "g", GOOD);
    for (int i = 0; i < GOING; i++)
        race.goes[i] = token_with_kid(
            goes, "g",
            arena_printf(&kit_arena, "{\"sub\":\"ann\",\"exp\":1700000100,\"n\":%d}", i));
    for (int i = 0; i < VERIFIERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_verifier, &race), 0);
    for (int i = 1; i <= ROUNDS || atomic_load(&race.refused) == 0; i++) {
        bool gone = i % 2;

        put_file(config.jwks_file, gone ? without : with);
        if (i % 3)
            assert_true(token_keys_reload(race.keys, NULL, &err));
        else
            assert_true(token_keys_refresh(race.keys, (int64_t)i * TOKEN_REFRESH_MS, &err));
        if (gone)
            assert_gone(&race);
        else
            assert_true(is_taken(race.keys, race.goes[0]));
    }
    atomic_store(&race.done, true);
    for (int i = 0; i < VERIFIERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&race.failures), 0);
    token_keys_close(race.keys);
    unlink(config.jwks_file);
    EVP_PKEY_free(goes.pkey);
    EVP_PKEY_free(stranger.pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKEN_TEST(test_reloads_under_verification_never_lose_or_invent_a_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
