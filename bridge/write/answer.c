#include "write/answer.h"
#include "change/json.h"

#include <inttypes.h>

static void begin(struct write_reply *reply, int status)
{
    *reply = (struct write_reply){.status = status};
    buf_init(&reply->body, BUF_NO_LIMIT);
    buf_put_u8(&reply->body, '{');
}

static void put_text(struct buf *b, const char *name, struct slice text)
{
    buf_printf(b, "\"%s\":", name);
    json_put_string(b, text);
}

static void say(struct write_reply *reply, int status, const char *text)
{
    begin(reply, status);
    put_text(&reply->body, "message", slice_of(text));
}

static void end(struct write_reply *reply)
{
    buf_put_u8(&reply->body, '}');
}

void answer_invalid(const struct write_invalid *invalid, struct write_reply *reply)
{
    say(reply, invalid->err.code == ERR_LIMIT ? 413 : 400, invalid->err.msg);
    buf_put_u8(&reply->body, ',');
    put_text(&reply->body, "place", slice_of(invalid->place));
    end(reply);
}

void answer_failure(const struct err *err, struct write_reply *reply)
{
    bool forbidden = err->code == ERR_INPUT;

    say(reply, forbidden ? 403 : 503,
        err->code == ERR_CONN ? "Postgres cannot be reached; try again later" : err->msg);
    reply->again = !forbidden;
    end(reply);
}

static void answer_forbidden(struct write_reply *reply)
{
    say(reply, 403, "this replica's writes are another subject's; take another replica id");
    end(reply);
}

static void answer_crowded(struct write_reply *reply)
{
    say(reply, 403,
        "as many replicas have written for this user as may; one that has not written for long "
        "makes "
        "room, and the operator can raise max_replicas of [writes]");
    end(reply);
}

static void answer_fork(const struct write_outcome *outcome, struct write_reply *reply)
{
    say(reply, 409,
        "this replica's writes went on elsewhere, as after a file is copied or restored, or it has "
        "not written for so long that it is not known any more; ask what was decided, then take "
        "another replica id");
    buf_printf(&reply->body, ",\"fork\":true,\"last\":%" PRId64, outcome->last_id);
    end(reply);
}

static void put_rejections(struct buf *b, const struct write_result *result)
{
    buf_put_cstr(b, ",\"rejected\":[");
    for (size_t i = 0; i < result->nrejections; i++) {
        const struct write_rejection *rejection = &result->rejections[i];

        buf_printf(b, "%s{\"mutation\":%d,", i ? "," : "", rejection->mutation);
        put_text(b, "code", rejection->code);
        buf_put_u8(b, ',');
        put_text(b, "sqlstate", rejection->sqlstate);
        buf_put_u8(b, ',');
        put_text(b, "message", rejection->message);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
}

static void put_result(struct buf *b, int64_t id, const struct write_result *result)
{
    static const char *const statuses[] = {"again", "applied", "partly", "rejected"};

    buf_put_cstr(b, "{\"id\":");
    buf_put_dec(b, (uint64_t)id);
    buf_put_cstr(b, ",\"status\":\"");
    buf_put_cstr(b, statuses[result->status]);
    buf_put_u8(b, '"');
    if (result->repeated)
        buf_put_cstr(b, ",\"repeated\":true");
    if (result->xid) {
        buf_put_cstr(b, ",\"xid\":\"");
        buf_put_dec(b, result->xid);
        buf_put_cstr(b, "\",\"lsn\":\"");
        buf_put_dec(b, result->lsn);
        buf_put_u8(b, '"');
    }
    if (result->nrejections)
        put_rejections(b, result);
    buf_put_u8(b, '}');
}

static bool any_decided(const struct write_request *request, const struct write_outcome *outcome)
{
    return request->ntxns == 0 || outcome->results[0].status != WRITE_AGAIN;
}

void answer_outcome(const struct write_request *request, const struct write_outcome *outcome,
                    const struct err *err, struct write_reply *reply)
{
    if (outcome->answer == WRITE_FORBIDDEN) {
        answer_forbidden(reply);
    } else if (outcome->answer == WRITE_CROWDED) {
        answer_crowded(reply);
    } else if (outcome->answer == WRITE_FORK) {
        answer_fork(outcome, reply);
    } else if (!any_decided(request, outcome)) {
        answer_failure(err, reply);
    } else {
        begin(reply, 200);
        buf_printf(&reply->body, "\"last\":%" PRId64 ",\"results\":[", outcome->last_id);
        for (size_t i = 0; i < request->ntxns; i++) {
            if (i)
                buf_put_u8(&reply->body, ',');
            put_result(&reply->body, request->txns[i].id, &outcome->results[i]);
        }
        buf_put_u8(&reply->body, ']');
        end(reply);
    }
}

void answer_known(const struct write_known *known, struct write_reply *reply)
{
    if (known->answer == WRITE_FORBIDDEN) {
        answer_forbidden(reply);
        return;
    }
    begin(reply, 200);
    buf_printf(&reply->body, "\"decided\":%.*s,\"since\":\"%.*s\",\"at\":\"%.*s\",\"lsn\":\"%.*s\"",
               SLICE_ARG(known->decided), SLICE_ARG(known->since), SLICE_ARG(known->at),
               SLICE_ARG(known->lsn));
    end(reply);
}
