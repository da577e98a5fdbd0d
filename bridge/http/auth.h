/*
 * Whose request it is. The operator's: it has the secret, or none is needed
 * (insecure). Or a token's bearer (token/token.h), who is allowed what the
 * rules say of its claims. The server asks auth_read() before the handler of a
 * route that needs it, and puts the answer into the request: request->auth.
 */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include "token/token.h"

struct http_request;

enum auth_kind {
    AUTH_NONE, /* nobody was asked for: the route needs no secret */
    AUTH_OPERATOR,
    AUTH_TOKEN,
};

struct auth {
    enum auth_kind kind;
    struct token *token; /* AUTH_TOKEN: a reference; else NULL */
};

/* What requests are held against; constant while the server runs. */
struct auth_site {
    const char *secret;      /* "": none is needed, and everybody is the operator */
    struct token_keys *keys; /* NULL: no tokens */
};

/* `in_query`: the secret may also stand in the query string, as `secret`. False: a 401, err says
 * why. */
bool auth_read(const struct auth_site *site, const struct http_request *request, bool in_query,
               struct auth *out, struct err *err) MUST_CHECK;

/* Whether the query has the secret: `secret`, or `api_secret`. */
bool auth_secret_in_query(const struct http_request *request, const char *secret);

struct auth auth_ref(const struct auth *auth);
void auth_release(struct auth *auth);

/* When it ends, in the time of http_loop_now(), which is `loop_now` now; INT64_MAX: never. A
 * response that goes on ends then. */
int64_t auth_ends(const struct auth *auth, int64_t loop_now);

#endif
