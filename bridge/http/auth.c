#include "http/auth.h"
#include "base/clock.h"
#include "http/request.h"

#include <strings.h>

/* RFC 6750: Authorization: Bearer TEXT */
static bool find_bearer(const struct http_request *request, struct slice *text)
{
    const size_t scheme = sizeof("Bearer ") - 1;
    struct slice value;

    if (!http_request_header(request, "authorization", &value) || value.len <= scheme ||
        strncasecmp(value.ptr, "Bearer ", scheme) != 0)
        return false;
    *text = (struct slice){value.ptr + scheme, value.len - scheme};
    return true;
}

bool auth_secret_in_query(const struct http_request *request, const char *secret)
{
    struct slice given;

    if (!http_request_param(request, "secret", &given) || !given.len)
        http_request_param(request, "api_secret", &given);
    return http_same_secret(given, secret);
}

static bool is_operator(const struct auth_site *site, const struct http_request *request,
                        bool in_query, bool has_bearer, struct slice bearer)
{
    return !site->secret[0] || (has_bearer && http_same_secret(bearer, site->secret)) ||
           (in_query && auth_secret_in_query(request, site->secret));
}

bool auth_read(const struct auth_site *site, const struct http_request *request, bool in_query,
               struct auth *out, struct err *err)
{
    struct slice bearer = SLICE("");
    bool has_bearer = find_bearer(request, &bearer);

    *out = (struct auth){AUTH_NONE, NULL};
    if (is_operator(site, request, in_query, has_bearer, bearer)) {
        out->kind = AUTH_OPERATOR;
        return true;
    }
    if (!site->keys || !has_bearer)
        return err_set(err, ERR_INPUT, "%s",
                       site->keys ? "there is neither the secret nor a token"
                                  : "the secret is missing or wrong");
    if (!token_verify(site->keys, bearer, clock_unix_us() / 1000000, &out->token, err))
        return false;
    out->kind = AUTH_TOKEN;
    return true;
}

struct auth auth_ref(const struct auth *auth)
{
    return (struct auth){auth->kind, auth->token ? token_ref(auth->token) : NULL};
}

void auth_release(struct auth *auth)
{
    if (auth->token)
        token_unref(auth->token);
    *auth = (struct auth){AUTH_NONE, NULL};
}

int64_t auth_ends(const struct auth *auth, int64_t loop_now)
{
    int64_t expires = auth->token ? token_expires(auth->token) : TOKEN_NEVER;

    /* No sum of it fits: that is never, too. */
    if (expires > INT64_MAX / 2000)
        return INT64_MAX;
    return loop_now + expires * 1000 - clock_unix_us() / 1000;
}
