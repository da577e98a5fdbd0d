/* Any bytes as the body of POST /v1/write: a request within its limits, or an error with a place
 * that is text. */
#include "base/utf8.h"
#include "write/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct write_request_limits limits = {1 << 16, 20, 50};

static void check_pairs(const struct write_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        const struct write_pair *pair = &pairs->list[i];

        if (pair->column.len == 0 || !utf8_is_text(pair->column))
            abort();
        if (pair->value.ptr && (!utf8_is_text(pair->value) || pair->value.ptr[pair->value.len]))
            abort();
    }
}

static void check_request(const struct write_request *request)
{
    size_t mutations = 0;

    if (!request->replica.len || !request->family.len || request->ntxns > limits.transactions ||
        request->ndecided > limits.mutations || !request->txns == !request->decided)
        abort();
    for (size_t i = 0; i < request->ntxns; i++) {
        const struct write_txn *txn = &request->txns[i];

        if (txn->id < 1 || !txn->nonce.len || (i && txn->id != request->txns[i - 1].id + 1))
            abort();
        mutations += txn->nmutations;
        for (size_t m = 0; m < txn->nmutations; m++) {
            check_pairs(&txn->mutations[m].key);
            check_pairs(&txn->mutations[m].values);
            check_pairs(&txn->mutations[m].base);
        }
    }
    if (mutations > limits.mutations)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct write_request request;
    struct write_invalid invalid = {0};

    if (write_request_parse((struct slice){(const char *)data, size}, &limits, &arena, &request,
                            &invalid))
        check_request(&request);
    else if (!invalid.place[0] || !invalid.err.msg[0] || !utf8_is_text(slice_of(invalid.place)))
        abort();
    arena_release(&arena);
    return 0;
}
