/* Any bytes as a file of keys, JWKS and PEM: keys, or an error that says where. */
#include "token/key_set.h"

#include <openssl/err.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef bool add_fn(struct key_set *set, struct slice text, struct err *err);

static void try_one(add_fn *add, struct slice text)
{
    struct token_config config;
    struct err err = {0};

    token_config_init(&config);
    struct key_set *set = key_set_new(&config);
    if (add(set, text, &err)) {
        struct slice kid = {NULL, 0};

        if (set->nkeys == 0)
            abort();
        for (int alg = TOKEN_HS256; alg <= TOKEN_EDDSA; alg++) {
            if (key_set_verify(set, (enum token_alg)alg, kid, SLICE("text"), SLICE("sig"), &err))
                abort();
        }
    } else if (err.code != ERR_CONFIG || !err.msg[0]) {
        abort();
    }
    if (ERR_peek_error())
        abort();
    key_set_unref(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};

    try_one(key_set_add_jwks, text);
    try_one(key_set_add_pem, text);
    return 0;
}
