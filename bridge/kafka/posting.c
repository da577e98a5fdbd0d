#include "kafka/posting.h"

#define KEY_SHOWN 100

static bool is_taken(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static void put_name(struct slice name, struct buf *out)
{
    for (size_t i = 0; i < name.len; i++)
        buf_put_u8(out, is_taken(name.ptr[i]) ? (uint8_t)name.ptr[i] : '_');
}

void posting_put_topic(const char *prefix, struct slice nspname, struct slice relname,
                       struct buf *out)
{
    buf_put_cstr(out, prefix);
    buf_put_u8(out, '.');
    put_name(nspname, out);
    buf_put_u8(out, '.');
    put_name(relname, out);
}

static size_t size_of(const struct envelope_record *record)
{
    return record->key.len + record->value.len +
           (record->header ? strlen(record->header) + record->header_value.len : 0);
}

bool posting_fits(struct slice topic, const struct envelope_records *records, size_t message_max,
                  struct err *err)
{
    for (size_t i = 0; i < records->n; i++) {
        const struct envelope_record *record = &records->records[i];
        size_t size = size_of(record);
        struct slice key = record->has_key ? record->key : SLICE("(none)");

        if (size <= message_max)
            continue;
        if (key.len > KEY_SHOWN)
            key.len = KEY_SHOWN;
        err_set(err, ERR_LIMIT, "a record of %zu bytes for topic \"%.*s\", key %.*s, is too large",
                size, SLICE_ARG(topic), SLICE_ARG(key));
        return err_hint(err,
                        "[kafka] message_max is %zu: raise it and the broker's limit, or set "
                        "too_large to without_before",
                        message_max);
    }
    return true;
}

static struct outlet_record record_of(const struct envelope_record *record, struct slice topic,
                                      int32_t partition, struct outlet_header *header)
{
    if (record->header)
        *header = (struct outlet_header){slice_of(record->header), record->header_value};
    return (struct outlet_record){.topic = topic,
                                  .partition = partition,
                                  .has_key = record->has_key,
                                  .has_value = record->has_value,
                                  .key = record->key,
                                  .value = record->value,
                                  .headers = header,
                                  .nheaders = record->header ? 1 : 0};
}

void posting_put(struct outlet *outlet, struct slice topic, int32_t partition,
                 const struct envelope_records *records)
{
    bool open = true;

    for (size_t i = 0; open && i < records->n; i++) {
        struct outlet_header header;
        struct outlet_record record = record_of(&records->records[i], topic, partition, &header);

        open = outlet_put(outlet, &record);
    }
}

bool posting_produce(struct outlet *outlet, struct slice topic,
                     const struct envelope_records *records, struct err *err)
{
    for (size_t i = 0; i < records->n; i++) {
        struct outlet_header header;
        struct outlet_record record =
            record_of(&records->records[i], topic, OUTLET_BY_KEY, &header);

        if (!outlet_produce(outlet, &record, err))
            return false;
    }
    return true;
}
