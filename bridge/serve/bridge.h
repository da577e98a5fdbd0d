/*
 * The bridge's parts, private to this room: who owns what, and the threads.
 *
 *     main      signals, start and stop
 *     stream    receiver -> fanout -> shape log
 *     keeper    keeper.h
 *     workers   snapshot/pool.h, snapshot/subset_pool.h, write/pool.h
 *     loops     http/server.h
 *     syncer    the shape log's own
 *     publisher kafka.h: what goes to Kafka
 */
#ifndef SERVE_BRIDGE_H
#define SERVE_BRIDGE_H

#include "fanout/fanout.h"
#include "http/auth.h"
#include "http/server.h"
#include "http/service.h"
#include "http/shape.h"
#include "rules/site.h"
#include "serve/kafka.h"
#include "serve/keeper.h"
#include "serve/node.h"
#include "serve/writes.h"
#include "settings/config.h"
#include "snapshot/pool.h"
#include "snapshot/subset_pool.h"
#include "wal/receiver.h"

#include <pthread.h>

struct stream_sink {
    struct wal_sink sink; /* first */
    struct bridge *bridge;
    struct pg_conn *conn; /* for looking up partitions; the stream thread's */
    uint32_t xid;         /* of the transaction at hand */
    lsn_t again;          /* the last commit that we hold, until the server has sent it again */
    bool other_history;   /* it has not */
};

struct bridge {
    struct config config;
    char slot[64], publication[64];
    struct shapelog *store;
    struct unseen *unseen;
    struct fanout *fanout;
    struct stream_sink sink;
    struct feed *walsender; /* or: */
    struct node *node;      /* a fan-out node's */
    struct receiver *receiver;
    struct kafka *kafka; /* NULL: nothing is published */
    struct snapshot_pool *pool;
    struct subset_pool *subsets;
    struct subset_budget subset_budget;
    struct keeper *keeper;
    struct token_keys *tokens; /* NULL: none are taken */
    struct rules_site *rules;
    struct auth_site auth;
    struct writes writes;
    struct service service;
    struct shape_site shapes;
    atomic_size_t clients; /* live streams */
    struct http_server *http;
    pthread_t stream_thread;
    bool streaming; /* the stream thread has been started */
    struct refusals refusals;
};

/* stream.c: the receiver with the fan-out behind it. */
bool bridge_make_stream(struct bridge *bridge, struct err *err) MUST_CHECK;
void bridge_free_stream(struct bridge *bridge);

/* endpoints.c: the HTTP server. */
bool bridge_start_http(struct bridge *bridge, struct err *err) MUST_CHECK;
/* The threads behind it end; between http_server_stop() and http_server_free(). */
void bridge_stop_encoder(struct bridge *bridge);

/* permits.c: the keys for tokens, and the rules of who may do what. */
bool bridge_open_permits(struct bridge *bridge, struct err *err) MUST_CHECK;
void bridge_close_permits(struct bridge *bridge);
/* At SIGHUP; the settings have been read again. */
void bridge_reread_rules(struct bridge *bridge);

/* figures.c: what the rooms have counted, into the metrics; at a scrape, any thread. */
void bridge_collect_figures(struct bridge *bridge);

#endif
