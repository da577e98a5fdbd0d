/*
 * Who a request is from: JSON web tokens (RFC 7519), verified. A token is made by the app's own
 * login service and signed; the bridge has the keys to verify it, and its claims decide what the
 * bearer may read and write.
 *
 *     struct token_config config;
 *     token_config_init(&config);
 *     config.jwks_file = "keys.json";
 *     struct token_keys *keys = token_keys_open(&config, &err);
 *
 *     struct token *token;
 *     if (!token_verify(keys, jwt, now, &token, &err))
 *         answer 401 with err.msg and err.hint
 *     struct token_claim tenant = token_claim(token, SLICE("app_metadata.tenant"), &arena);
 *     token_unref(token);
 *
 * Algorithms: HS256 (a shared secret), RS256 (RSA of 2048 to 8192 bits), ES256 (P-256), EdDSA
 * (Ed25519). A key verifies the one algorithm of its type and no other, so the header's "alg" can
 * only choose among keys, never how a key is used. What the header says of keys themselves (jwk,
 * jku, x5u, x5c) counts for nothing; "crit" is refused, whatever is in it, and "typ" ignored.
 *
 * Which keys are tried: with "kid" those of that kid; if none has it, those that have no kid
 * (from a secret or a PEM file). Without "kid" all that fit the algorithm, if there are at most
 * TOKEN_TRIES.
 *
 * Verified tokens are kept, found again by the SHA-256 of their text, so that a client's next
 * request costs no signature; their times are looked at on each use. What an attacker can time in
 * that lookup is the hash of a text that he chose: it tells him nothing of another's token.
 *
 * Threads: everything here may be called from any thread; nothing but _open, _reload and
 * _refresh reads files or takes longer than a signature.
 */
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

#define TOKEN_TRIES 8         /* keys tried for one token */
#define TOKEN_SECRET_MIN 32   /* bytes of a secret: as many as HS256's hash (RFC 7518, 3.2) */
#define TOKEN_REFRESH_MS 3000 /* at most that often are the files looked at */
#define TOKEN_NEVER INT64_MAX

struct token_keys;
struct token;

/* At least one of the first three; what is not set is NULL (secret: length 0). Only borrowed
 * during the calls that take it. */
struct token_config {
    struct slice secret;   /* HS256, as it stands: not decoded */
    const char *key_file;  /* PEM: one or more PUBLIC KEY blocks */
    const char *jwks_file; /* RFC 7517: {"keys": [...]}; keys for other uses are passed over */
    const char *audience;  /* must be in "aud"; NULL or "": aud is not looked at */
    const char *issuer;    /* must be "iss"; NULL or "": iss is not looked at */
    int64_t leeway_s;      /* by how much clocks may differ: 0 to 3600 */
    bool require_exp;      /* refuse tokens that never expire */
    size_t max_size;       /* of a token's text, in bytes */
    size_t cached;         /* how many verified tokens are kept; 0: none. Set at open for good. */
};

/* No keys; leeway 30 s, require_exp, 8 KB, 4096 tokens. */
void token_config_init(struct token_config *config);

/* Reads the keys. NULL with ERR_CONFIG, which names the file and the place in it. */
struct token_keys *token_keys_open(const struct token_config *config, struct err *err) MUST_CHECK;

/* Reads everything anew, with `config` (NULL: what was given last), and forgets the tokens
 * verified so far. On failure the old keys and settings stay in force. Tokens that callers hold
 * stay as they are. */
bool token_keys_reload(struct token_keys *keys, const struct token_config *config,
                       struct err *err) MUST_CHECK;

/* Reloads if a file has changed since it was read (inode, size, times; of a file that was changed
 * just before it was read, the content). Costs an atomic load when TOKEN_REFRESH_MS have not
 * passed since the last look; to be called every now and then with clock_ms(), by a thread that
 * may read files. False is returned once for each wrong state of a file: to be logged; the old
 * keys stay in force. */
bool token_keys_refresh(struct token_keys *keys, int64_t now_ms, struct err *err) MUST_CHECK;

/* No other call may be under way. Tokens outlive the keys. */
void token_keys_close(struct token_keys *keys);

struct token_stats {
    uint64_t verified; /* by their signature */
    uint64_t cached;   /* found among those verified before */
    uint64_t refused;
    uint64_t reloads; /* that gave new keys */
};

void token_keys_stats(struct token_keys *keys, struct token_stats *stats);

/* Verifies the text of a token (without "Bearer ") at `now`, in seconds since 1970. True gives
 * *token with a reference that is the caller's. False is a 401: ERR_INPUT says which check
 * failed, for the app's developer; it holds nothing of the keys, and of the token at most short
 * pieces in printable ASCII. */
bool token_verify(struct token_keys *keys, struct slice jwt, int64_t now, struct token **token,
                  struct err *err) MUST_CHECK;

/* A token is immutable. Its slices live as long as a reference is held. */
struct token *token_ref(struct token *token);
void token_unref(struct token *token);

/* "sub"; ptr is NULL when the token has none, or an empty one. UTF-8 without NUL. */
struct slice token_subject(const struct token *token);

/* The first second (since 1970) in which the token is refused, leeway included, or TOKEN_NEVER:
 * when a live stream has to end. */
int64_t token_expires(const struct token *token);

/* All claims: the JSON object as its issuer wrote it. UTF-8; no key occurs twice in an object and
 * no string holds a NUL, so that Postgres reads the same in it (request.jwt.claims). */
struct slice token_claims(const struct token *token);

enum token_claim_kind {
    TOKEN_CLAIM_ABSENT,
    TOKEN_CLAIM_NULL,
    TOKEN_CLAIM_TEXT,   /* a string, number, true or false */
    TOKEN_CLAIM_LIST,   /* an array of those and nulls */
    TOKEN_CLAIM_OBJECT, /* an object, or an array that holds objects or arrays */
};

/* Values are in Postgres's text form: a string's characters, a number as it is written in the
 * token, "true" or "false". */
struct token_claim {
    enum token_claim_kind kind;
    struct slice text;         /* TEXT; borrowed from the token */
    const struct slice *items; /* LIST, in the arena; ptr is NULL for a null */
    size_t nitems;
};

/* The claim at `path`, names with dots between them; an array's items have no names. A name that
 * has a dot in it is found by token_claim_at() only. */
struct token_claim token_claim(const struct token *token, struct slice path, struct arena *arena);
struct token_claim token_claim_at(const struct token *token, const struct slice *names, size_t n,
                                  struct arena *arena);

#endif
