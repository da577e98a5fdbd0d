/*
 * Any bytes as tombolo.ini. They are refused with a message that names the
 * place, or give values each of which, shown as text, reads as itself.
 */
#include "base/buf.h"
#include "settings/load.h"
#include "settings/setting.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fact)
{
    if (!fact)
        abort();
}

static void check_shown(const struct config *config)
{
    struct config again = {0};
    struct buf shown;

    buf_init(&shown, BUF_NO_LIMIT);
    for (size_t i = 0; i < nsettings; i++) {
        buf_clear(&shown);
        setting_format(&settings[i], config, &shown);
        if (settings[i].type == SETTING_URL)
            continue; /* what is masked need not be a connection string any more */
        require(setting_parse(&settings[i], buf_cstr(&shown), &again));
        if (!setting_is_secret(&settings[i]))
            require(setting_equal(&settings[i], config, &again));
    }
    config_free(&again);
    buf_release(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct config config;
    FILE *f = size ? fmemopen((void *)(uintptr_t)data, size, "r") : fopen("/dev/null", "r");

    require(f != NULL);
    if (config_read_file(&config, f, "fuzz.ini", &err)) {
        check_shown(&config);
        config_free(&config);
    } else {
        require(err.code == ERR_CONFIG && strncmp(err.msg, "fuzz.ini:", 9) == 0);
    }
    fclose(f);
    return 0;
}
