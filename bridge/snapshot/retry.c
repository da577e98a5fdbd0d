#include "snapshot/retry.h"
#include "base/clock.h"

#define FIRST_MS 2
#define MOST_MS 200
#define GIVE_UP_MS 60000

struct retry retry_begin(void)
{
    return (struct retry){.give_up = clock_ms() + GIVE_UP_MS, .pause_ms = FIRST_MS};
}

bool retry_pause(struct retry *retry, const char *text, struct err *err)
{
    if (clock_ms() > retry->give_up)
        return err_set(err, ERR_TIMEOUT, "%s", text);
    clock_sleep_ms(retry->pause_ms);
    if (retry->pause_ms < MOST_MS)
        retry->pause_ms *= 2;
    return true;
}
