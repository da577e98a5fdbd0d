/*
 * From text to token: the form, the header, the signature, the claims; in that order, so that
 * nothing of the claims is looked at before the signature is known to be good.
 */
#include "token/base64url.h"
#include "token/shown.h"
#include "token/strict_json.h"
#include "token/token_private.h"

#include <stdio.h>
#include <stdlib.h>

#define HEADER_MAX 2048          /* bytes, decoded */
#define SIGNATURE_MAX 1024       /* of RSA with 8192 bits */
#define YEAR_9999 253402300799LL /* its last second */

/* A token's three parts, each in base64url. */
struct parts {
    struct slice header, payload, signature, is_signed;
};

/* What is before the first dot, and *rest what is behind it; false when there is none. */
static bool cut_at_dot(struct slice text, struct slice *head, struct slice *rest)
{
    const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;

    if (!dot)
        return false;
    *head = (struct slice){text.ptr, (size_t)(dot - text.ptr)};
    *rest = (struct slice){dot + 1, text.len - head->len - 1};
    return true;
}

static bool split(struct slice jwt, struct parts *parts, struct err *err)
{
    struct slice rest, none;

    if (!cut_at_dot(jwt, &parts->header, &rest) ||
        !cut_at_dot(rest, &parts->payload, &parts->signature) ||
        cut_at_dot(parts->signature, &none, &none))
        return err_set(err, ERR_INPUT,
                       "not a token: it must have three parts with a dot between them");
    parts->is_signed = (struct slice){jwt.ptr, parts->header.len + 1 + parts->payload.len};
    return true;
}

static bool refuse_base64(const char *part, struct err *err)
{
    return err_set(err, ERR_INPUT, "the token's %s is not base64url without padding", part);
}

/* What the header decides. */
struct choice {
    enum token_alg alg;
    yyjson_val *kid; /* NULL: none */
};

static bool choose(yyjson_val *header, struct choice *choice, struct err *err)
{
    yyjson_val *alg = yyjson_obj_get(header, "alg");

    choice->kid = yyjson_obj_get(header, "kid");
    if (yyjson_obj_get(header, "crit"))
        return err_set(err, ERR_INPUT,
                       "the token's header has \"crit\": extensions that must be "
                       "understood are not supported");
    if (!yyjson_is_str(alg))
        return err_set(err, ERR_INPUT, "the token's header must have \"alg\", a string");
    if (!token_alg_parse(strict_json_text(alg), &choice->alg))
        return err_set(err, ERR_INPUT,
                       "the token's alg \"%s\" is not taken: HS256, RS256, ES256 or EdDSA are",
                       SHOWN(strict_json_text(alg)));
    if (choice->kid && !yyjson_is_str(choice->kid))
        return err_set(err, ERR_INPUT, "the kid in the token's header must be a string");
    return true;
}

static bool verify_with(const struct key_set *set, yyjson_val *header, const struct parts *parts,
                        struct err *err)
{
    uint8_t signature[SIGNATURE_MAX];
    struct choice choice;
    size_t len = BASE64URL_BYTES(parts->signature.len);

    if (!choose(header, &choice, err))
        return false;
    if (len > sizeof(signature))
        return err_set(err, ERR_INPUT, "the token's signature is too long");
    if (!base64url_decode(parts->signature, signature))
        return refuse_base64("signature", err);
    struct slice kid = choice.kid ? strict_json_text(choice.kid) : (struct slice){NULL, 0};
    return key_set_verify(set, choice.alg, kid, parts->is_signed,
                          (struct slice){(const char *)signature, len}, err);
}

static bool verify_parts(const struct key_set *set, const struct parts *parts, struct err *err)
{
    uint8_t text[HEADER_MAX];
    size_t len = BASE64URL_BYTES(parts->header.len);

    if (len > sizeof(text))
        return err_set(err, ERR_INPUT, "the token's header is longer than %d bytes", HEADER_MAX);
    if (!base64url_decode(parts->header, text))
        return refuse_base64("header", err);
    yyjson_doc *doc = strict_json_object((struct slice){(const char *)text, len}, err);
    if (!doc)
        return err_wrap(err, "the token's header");
    bool verified = verify_with(set, yyjson_doc_get_root(doc), parts, err);
    yyjson_doc_free(doc);
    return verified;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Seconds since 1970: digits, and a fraction that does not count. */
static bool parse_time(struct slice text, int64_t *out)
{
    size_t i = 0;

    for (*out = 0; i < text.len && is_digit(text.ptr[i]); i++) {
        if (*out <= YEAR_9999)
            *out = *out * 10 + (text.ptr[i] - '0');
    }
    if (i > 0 && i < text.len && text.ptr[i] == '.')
        for (i++; i < text.len && is_digit(text.ptr[i]);)
            i++;
    return i > 0 && i == text.len;
}

/* *out is left as it is when there is no such claim. */
static bool take_time(yyjson_val *claims, const char *name, int64_t *out, struct err *err)
{
    yyjson_val *val = yyjson_obj_get(claims, name);
    int64_t t;

    if (!val)
        return true;
    if (!yyjson_is_raw(val) || !parse_time(strict_json_text(val), &t))
        return err_set(err, ERR_INPUT,
                       "the token's %s must be a number of seconds since 1970, as 1700000000",
                       name);
    if (t > YEAR_9999)
        return err_set(err, ERR_INPUT,
                       "the token's %s is beyond the year 9999: it is in seconds, not milliseconds",
                       name);
    *out = t;
    return true;
}

static bool take_times(struct token *token, const struct token_config *config, struct err *err)
{
    yyjson_val *claims = yyjson_doc_get_root(token->doc);
    int64_t nbf = 0;

    token->exp = TOKEN_NEVER;
    if (!take_time(claims, "exp", &token->exp, err) || !take_time(claims, "nbf", &nbf, err))
        return false;
    if (token->exp == TOKEN_NEVER && config->require_exp)
        return err_set(err, ERR_INPUT, "the token has no exp: one that expires is wanted");
    token->from = nbf - config->leeway_s;
    token->until = token->exp == TOKEN_NEVER ? TOKEN_NEVER : token->exp + config->leeway_s;
    return true;
}

bool token_is_current(const struct token *token, int64_t now, struct err *err)
{
    if (now >= token->until)
        return err_set(err, ERR_INPUT, "the token expired %lld s ago",
                       (long long)(now - token->exp));
    if (now < token->from)
        return err_set(err, ERR_INPUT, "the token is not valid yet (nbf) for another %lld s",
                       (long long)(token->from - now));
    return true;
}

static bool take_subject(struct token *token, struct err *err)
{
    yyjson_val *sub = yyjson_obj_get(yyjson_doc_get_root(token->doc), "sub");

    if (!sub)
        return true;
    if (!yyjson_is_str(sub))
        return err_set(err, ERR_INPUT, "the token's sub must be a string");
    /* Nobody's name: it would be the operator's, who has none. */
    if (yyjson_get_len(sub) > 0)
        token->subject = strict_json_text(sub);
    return true;
}

static bool check_issuer(yyjson_val *claims, const char *issuer, struct err *err)
{
    yyjson_val *iss = yyjson_obj_get(claims, "iss");

    if (!issuer || yyjson_equals_str(iss, issuer))
        return true;
    if (!yyjson_is_str(iss))
        return err_set(err, ERR_INPUT, "the token has no iss, and one is wanted");
    return err_set(err, ERR_INPUT, "the token's iss \"%s\" is not the issuer trusted here",
                   SHOWN(strict_json_text(iss)));
}

static bool has_audience(yyjson_val *aud, const char *audience)
{
    yyjson_val *item;
    yyjson_arr_iter iter;

    if (!yyjson_is_arr(aud))
        return yyjson_equals_str(aud, audience);
    yyjson_arr_iter_init(aud, &iter);
    while ((item = yyjson_arr_iter_next(&iter))) {
        if (yyjson_equals_str(item, audience))
            return true;
    }
    return false;
}

static bool check_audience(yyjson_val *claims, const char *audience, struct err *err)
{
    yyjson_val *aud = yyjson_obj_get(claims, "aud");

    if (!audience || has_audience(aud, audience))
        return true;
    if (yyjson_is_str(aud))
        return err_set(err, ERR_INPUT, "the token's aud \"%s\" is for another audience",
                       SHOWN(strict_json_text(aud)));
    return err_set(err, ERR_INPUT, "the token's aud does not name the audience of this bridge");
}

static bool read_claims(struct token *token, const struct token_config *config, int64_t now,
                        struct err *err)
{
    token->doc = strict_json_object((struct slice){token->text, token->len}, err);
    if (!token->doc)
        return err_wrap(err, "the token's claims");
    yyjson_val *claims = yyjson_doc_get_root(token->doc);
    return take_times(token, config, err) && take_subject(token, err) &&
           token_is_current(token, now, err) && check_issuer(claims, config->issuer, err) &&
           check_audience(claims, config->audience, err);
}

struct token *token_read(const struct key_set *set, struct slice jwt, int64_t now, struct err *err)
{
    struct parts parts;

    if (!split(jwt, &parts, err) || !verify_parts(set, &parts, err))
        return NULL;
    size_t len = BASE64URL_BYTES(parts.payload.len);
    struct token *token = xcalloc(1, sizeof(*token) + len + 1);
    atomic_init(&token->refs, 1);
    token->len = len;
    if (!base64url_decode(parts.payload, (uint8_t *)token->text))
        refuse_base64("payload", err);
    else if (read_claims(token, &set->config, now, err))
        return token;
    token_unref(token);
    return NULL;
}
