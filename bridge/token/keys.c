/*
 * The keys in force and their renewal. Two locks: `load` is held while files are read and a new
 * set is made, `mutex` for the moment in which the set in force or the cache is looked at.
 */
#include "token/cache.h"
#include "token/source.h"
#include "token/token_private.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#define LEEWAY_MAX 3600

struct sources {
    struct source pem, jwks;
};

struct token_keys {
    pthread_mutex_t load;
    struct sources seen;     /* what was read last for the config in force, right or wrong */
    uint64_t nloads;         /* generations given out */
    _Atomic int64_t look_at; /* clock_ms() from which files are looked at again */

    pthread_mutex_t mutex;
    struct key_set *set; /* in force */
    struct token_cache cache;
    struct token_stats stats;
};

void token_config_init(struct token_config *config)
{
    *config = (struct token_config){
        .leeway_s = 30, .require_exp = true, .max_size = 8192, .cached = 4096};
}

static bool check_config(const struct token_config *config, struct err *err)
{
    if (config->secret.len == 0 && !config->key_file && !config->jwks_file)
        return err_set(err, ERR_CONFIG,
                       "there are no keys to verify tokens with: a secret, a "
                       "file with a public key or a JWKS file is wanted");
    if (config->leeway_s < 0 || config->leeway_s > LEEWAY_MAX)
        return err_set(err, ERR_CONFIG, "the leeway must be 0 to %d seconds", LEEWAY_MAX);
    return true;
}

static void sources_release(struct sources *sources)
{
    source_release(&sources->pem);
    source_release(&sources->jwks);
}

static bool sources_read(struct sources *sources, const struct token_config *config,
                         struct err *err)
{
    struct err other;
    bool pem = source_read(&sources->pem, config->key_file, err);
    bool jwks = source_read(&sources->jwks, config->jwks_file, pem ? err : &other);

    return pem && jwks;
}

static bool add_keys(struct key_set *set, const struct sources *sources, struct err *err)
{
    const struct token_config *config = &set->config;

    if (config->secret.len && !key_set_add_secret(set, err))
        return err_wrap(err, "the secret for tokens");
    if (config->key_file && !key_set_add_pem(set, buf_slice(&sources->pem.text), err))
        return err_wrap(err, "\"%s\"", config->key_file);
    if (config->jwks_file && !key_set_add_jwks(set, buf_slice(&sources->jwks.text), err))
        return err_wrap(err, "\"%s\"", config->jwks_file);
    return true;
}

static void put_in_force(struct token_keys *keys, struct key_set *set)
{
    pthread_mutex_lock(&keys->mutex);
    struct key_set *before = keys->set;
    keys->set = key_set_ref(set);
    token_cache_reset(&keys->cache, set->generation);
    keys->stats.reloads += before != NULL;
    pthread_mutex_unlock(&keys->mutex);
    key_set_unref(before);
}

/* Makes what was read the keys in force. Under `load`. */
static bool apply(struct token_keys *keys, struct key_set *set, const struct sources *sources,
                  struct err *err)
{
    set->generation = ++keys->nloads;
    if (!check_config(&set->config, err) || !add_keys(set, sources, err))
        return false;
    put_in_force(keys, set);
    return true;
}

static void remember(struct token_keys *keys, const struct sources *sources)
{
    sources_release(&keys->seen);
    keys->seen = *sources;
}

static bool renew(struct token_keys *keys, const struct token_config *config, struct err *err)
{
    struct key_set *set = key_set_new(config);
    struct sources now;
    bool fine = sources_read(&now, &set->config, err) && apply(keys, set, &now, err);

    if (fine)
        remember(keys, &now);
    else
        sources_release(&now);
    key_set_unref(set);
    return fine;
}

/* The same if there is other content than was seen, which is remembered even if it is wrong: so
 * that it is told of once. */
static bool renew_if_other(struct token_keys *keys, const struct token_config *config,
                           struct err *err)
{
    struct key_set *set = key_set_new(config);
    struct sources now;
    bool fine = sources_read(&now, &set->config, err);

    if (source_equal(&now.pem, &keys->seen.pem) && source_equal(&now.jwks, &keys->seen.jwks))
        fine = true;
    else
        fine = fine && apply(keys, set, &now, err);
    remember(keys, &now);
    key_set_unref(set);
    return fine;
}

struct token_keys *token_keys_open(const struct token_config *config, struct err *err)
{
    struct token_keys *keys = xcalloc(1, sizeof(*keys));

    pthread_mutex_init(&keys->load, NULL);
    pthread_mutex_init(&keys->mutex, NULL);
    token_cache_init(&keys->cache, config->cached);
    if (renew(keys, config, err))
        return keys;
    token_keys_close(keys);
    return NULL;
}

void token_keys_close(struct token_keys *keys)
{
    if (!keys)
        return;
    token_cache_release(&keys->cache);
    key_set_unref(keys->set);
    sources_release(&keys->seen);
    pthread_mutex_destroy(&keys->load);
    pthread_mutex_destroy(&keys->mutex);
    free(keys);
}

static struct key_set *in_force(struct token_keys *keys)
{
    pthread_mutex_lock(&keys->mutex);
    struct key_set *set = key_set_ref(keys->set);
    pthread_mutex_unlock(&keys->mutex);
    return set;
}

bool token_keys_reload(struct token_keys *keys, const struct token_config *config, struct err *err)
{
    pthread_mutex_lock(&keys->load);
    struct key_set *set = in_force(keys);
    bool fine = renew(keys, config ? config : &set->config, err);
    key_set_unref(set);
    pthread_mutex_unlock(&keys->load);
    return fine;
}

static bool look(struct token_keys *keys, struct err *err)
{
    if (!source_may_have_changed(&keys->seen.pem) && !source_may_have_changed(&keys->seen.jwks))
        return true;
    struct key_set *set = in_force(keys);
    bool fine = renew_if_other(keys, &set->config, err);
    key_set_unref(set);
    return fine;
}

bool token_keys_refresh(struct token_keys *keys, int64_t now_ms, struct err *err)
{
    int64_t at = atomic_load(&keys->look_at);

    if (now_ms < at ||
        !atomic_compare_exchange_strong(&keys->look_at, &at, now_ms + TOKEN_REFRESH_MS))
        return true;
    pthread_mutex_lock(&keys->load);
    bool fine = look(keys, err);
    pthread_mutex_unlock(&keys->load);
    return fine;
}

void token_keys_stats(struct token_keys *keys, struct token_stats *stats)
{
    pthread_mutex_lock(&keys->mutex);
    *stats = keys->stats;
    pthread_mutex_unlock(&keys->mutex);
}

static bool hash_text(struct slice jwt, struct token_hash *hash, struct err *err)
{
    if (EVP_Digest(jwt.ptr, jwt.len, hash->bytes, NULL, EVP_sha256(), NULL) == 1)
        return true;
    ERR_clear_error();
    return err_set(err, ERR_UNSUPPORTED, "OpenSSL here has no SHA-256");
}

static struct token *find_cached(struct token_keys *keys, const struct key_set *set,
                                 const struct token_hash *hash)
{
    pthread_mutex_lock(&keys->mutex);
    struct token *token = token_cache_get(&keys->cache, set->generation, hash);
    keys->stats.cached += token != NULL;
    pthread_mutex_unlock(&keys->mutex);
    return token;
}

static struct token *verify_anew(struct token_keys *keys, const struct key_set *set,
                                 struct slice jwt, const struct token_hash *hash, int64_t now,
                                 struct err *err)
{
    struct token *token = token_read(set, jwt, now, err);

    if (!token)
        return NULL;
    token->hash = *hash;
    pthread_mutex_lock(&keys->mutex);
    keys->stats.verified++;
    token_cache_put(&keys->cache, set->generation, token);
    pthread_mutex_unlock(&keys->mutex);
    return token;
}

static struct token *verify(struct token_keys *keys, const struct key_set *set, struct slice jwt,
                            int64_t now, struct err *err)
{
    struct token_hash hash;

    if (jwt.len > set->config.max_size) {
        err_set(err, ERR_INPUT, "the token is longer than %zu bytes", set->config.max_size);
        return NULL;
    }
    if (!hash_text(jwt, &hash, err))
        return NULL;
    struct token *token = find_cached(keys, set, &hash);
    if (!token)
        return verify_anew(keys, set, jwt, &hash, now, err);
    if (token_is_current(token, now, err))
        return token;
    token_unref(token);
    return NULL;
}

static void count(struct token_keys *keys, uint64_t *counter)
{
    pthread_mutex_lock(&keys->mutex);
    (*counter)++;
    pthread_mutex_unlock(&keys->mutex);
}

bool token_verify(struct token_keys *keys, struct slice jwt, int64_t now, struct token **token,
                  struct err *err)
{
    struct key_set *set = in_force(keys);

    *token = verify(keys, set, jwt, now, err);
    key_set_unref(set);
    if (!*token)
        count(keys, &keys->stats.refused);
    return *token != NULL;
}
