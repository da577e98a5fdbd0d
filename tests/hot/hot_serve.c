/*
 * The server's hot path: a request for a chunk of /v1/shape that others have asked for, from its
 * bytes on the socket to the last byte of the answer. The loop is turned by hand.
 */
#include "hot.h"
#include "../unit/shape_site_kit.h"

#define REQUESTS 200u
#define CHUNK 100000u

struct asking {
    struct client client;
    struct buf request;
    size_t answer; /* its size; 0: not known yet */
};

/* The whole answer, thrown away. */
static size_t hear_answer(struct client *c, size_t expected)
{
    static char bytes[2 * CHUNK];
    size_t got = 0;

    for (int quiet = 0; expected ? got < expected : quiet < 100;) {
        ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

        http_loop_turn(c->kit->rig->worker.loop, 0);
        quiet = n > 0 ? 0 : quiet + 1;
        got += n > 0 ? (size_t)n : 0;
    }
    return got;
}

static void ask_again_and_again(void *arg)
{
    struct asking *a = arg;

    for (unsigned i = 0; i < REQUESTS; i++) {
        assert_int_equal(send(a->client.fd, a->request.ptr, a->request.len, MSG_NOSIGNAL),
                         a->request.len);
        assert_int_equal(hear_answer(&a->client, a->answer), a->answer);
    }
}

int main(void)
{
    struct kit *kit = kit_new_chunked(CHUNK);
    struct asking a = {0};
    char handle[64];

    kit_commit(kit, 100, 800, 200);
    copy_handle(kit->log, handle);
    buf_init(&a.request, BUF_NO_LIMIT);
    buf_printf(&a.request,
               "GET /v1/shape?table=items&handle=%s&offset=0_inf HTTP/1.1\r\nHost: x\r\n\r\n",
               handle);
    client_open(&a.client, kit);
    assert_int_equal(send(a.client.fd, a.request.ptr, a.request.len, 0), a.request.len);
    a.answer = hear_answer(&a.client, 0);
    assert_true(a.answer > CHUNK);
    ask_again_and_again(&a);
    hot_say("serve", REQUESTS);
    hot_measure(ask_again_and_again, &a);
    client_close(&a.client);
    buf_release(&a.request);
    kit_free(kit);
    return 0;
}
