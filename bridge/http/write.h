/*
 * POST /v1/write: a replica's writes (docs/PROTOCOL.md). The body goes to the workers as it is;
 * what they answer goes back, if the client is still there.
 */
#ifndef HTTP_WRITE_H
#define HTTP_WRITE_H

#include "http/conn.h"

http_handler write_post;

#endif
