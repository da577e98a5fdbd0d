/*
 * Who may do what: the keys for tokens, and the rules. Both are read at the
 * start, where what is wrong keeps the bridge from starting, and looked after
 * by the keeper from then on (keeper.h).
 */
#include "base/logging.h"
#include "pg/pg.h"
#include "serve/bridge.h"

static bool open_tokens(struct bridge *b, struct err *err)
{
    const struct config *c = &b->config;
    struct token_config config;

    if (!config_has_tokens(c))
        return true;
    token_config_init(&config);
    config.secret = slice_of(c->token_secret);
    config.key_file = c->token_key_file[0] ? c->token_key_file : NULL;
    config.jwks_file = c->token_jwks_file[0] ? c->token_jwks_file : NULL;
    config.audience = c->token_audience;
    config.issuer = c->token_issuer;
    config.leeway_s = c->token_leeway_ms / 1000;
    config.require_exp = c->token_require_exp;
    b->tokens = token_keys_open(&config, err);
    return b->tokens != NULL;
}

/* Without Postgres the keeper does it when it is there: a bridge starts all the same. */
static bool check_rules(struct bridge *b, struct err *err)
{
    struct err away;
    struct pg_conn *conn = pg_connect(b->config.database_url, "tombolo rules", false, &away);
    bool ok = !conn || rules_site_look(b->rules, conn, err) || err->code != ERR_CONFIG;

    if (!conn)
        log_warn("the rules are held against the catalogue later", LOG_ERR(&away));
    pg_close(conn);
    return ok;
}

bool bridge_open_permits(struct bridge *b, struct err *err)
{
    if (!open_tokens(b, err))
        return false;
    b->rules = rules_site_open(b->config.file, err);
    if (!b->rules)
        return false;
    struct rules *rules = rules_site_get(b->rules);
    bool ok = rules_are_empty(rules) || check_rules(b, err);

    rules_unref(rules);
    return ok;
}

void bridge_close_permits(struct bridge *b)
{
    rules_site_close(b->rules);
    if (b->tokens)
        token_keys_close(b->tokens);
}

void bridge_reread_rules(struct bridge *b)
{
    struct err err;

    if (!rules_site_reread(b->rules, b->config.file, &err))
        log_error("the rules stay as they were", LOG_ERR(&err));
}
