/*
 * Postgres's point as Debezium's struct of the same name.
 *
 *     (1.5,2)  ->  {"x":1.5,"y":2,"wkb":"AQEAAAA...","srid":null}
 */
#ifndef KAFKA_POINT_H
#define KAFKA_POINT_H

#include "base/buf.h"
#include "base/err.h"

bool point_put(struct slice text, struct buf *out, struct err *err) MUST_CHECK;

#endif
