/*
 * Any bytes as a token, with fixed keys. Most are refused; so that the claims are reached, input
 * that begins with '!' is "!header\npayload" and gets signed here with the secret. A token that is
 * taken must have had the signature.
 */
#include "base/buf.h"
#include "token/token.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define SECRET "the fuzzer's secret, of 32 bytes or more"
#define NOW 1700000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_keys *make_keys(void)
{
    struct token_config config;
    struct err err;

    token_config_init(&config);
    config.secret = SLICE(SECRET);
    config.cached = 16;
    struct token_keys *keys = token_keys_open(&config, &err);
    if (!keys)
        abort();
    return keys;
}

static void put_base64(struct buf *out, struct slice bytes)
{
    char *room = buf_room(out, bytes.len * 2 + 8);
    int n = EVP_EncodeBlock((uint8_t *)room, (const uint8_t *)bytes.ptr, (int)bytes.len);

    while (n > 0 && room[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++)
        room[i] = room[i] == '+' ? '-' : room[i] == '/' ? '_' : room[i];
    buf_added(out, (size_t)n);
}

static void put_signature(struct buf *out, struct slice text)
{
    uint8_t mac[32];
    size_t len;

    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, SECRET, sizeof(SECRET) - 1,
                   (const uint8_t *)text.ptr, text.len, mac, sizeof(mac), &len))
        abort();
    put_base64(out, (struct slice){(const char *)mac, len});
}

static void put_signed(struct buf *out, struct slice input)
{
    const char *end = input.len ? memchr(input.ptr, '\n', input.len) : NULL;
    size_t header = end ? (size_t)(end - input.ptr) : input.len;

    put_base64(out, (struct slice){input.ptr, header});
    buf_put_u8(out, '.');
    if (end)
        put_base64(out, (struct slice){end + 1, input.len - header - 1});
    size_t len = out->len;
    buf_put_u8(out, '.');
    struct buf signature;
    buf_init(&signature, BUF_NO_LIMIT);
    put_signature(&signature, (struct slice){out->ptr, len});
    buf_put_slice(out, buf_slice(&signature));
    buf_release(&signature);
}

static void check_signature(struct slice jwt)
{
    const char *dot = memrchr(jwt.ptr, '.', jwt.len);
    struct slice text = {jwt.ptr, (size_t)(dot - jwt.ptr)};
    struct buf signature;

    buf_init(&signature, BUF_NO_LIMIT);
    put_signature(&signature, text);
    if (!slice_eq(buf_slice(&signature), (struct slice){dot + 1, jwt.len - text.len - 1}))
        abort();
    buf_release(&signature);
}

static void read_claims(const struct token *token)
{
    static const char *const paths[] = {"sub", "exp", "a", "a.b", "a.b.c", "", ".", "list"};
    struct arena arena = {0};

    if (token_expires(token) <= NOW)
        abort();
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct token_claim claim = token_claim(token, slice_of(paths[i]), &arena);

        if (claim.kind == TOKEN_CLAIM_TEXT && memchr(claim.text.ptr, 0, claim.text.len))
            abort();
        for (size_t j = 0; j < claim.nitems; j++)
            arena_copy(&arena, claim.items[j]);
    }
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct token_keys *keys;
    struct slice jwt = {(const char *)data, size};
    struct err err = {0};
    struct token *token;
    struct buf made;

    if (!keys)
        keys = make_keys();
    buf_init(&made, BUF_NO_LIMIT);
    if (size && data[0] == '!') {
        put_signed(&made, (struct slice){jwt.ptr + 1, size - 1});
        jwt = buf_slice(&made);
    }
    if (token_verify(keys, jwt, NOW, &token, &err)) {
        check_signature(jwt);
        read_claims(token);
        token_unref(token);
    } else if (err.code != ERR_INPUT || !err.msg[0]) {
        abort();
    }
    if (ERR_peek_error())
        abort();
    buf_release(&made);
    return 0;
}
