#include "base/buf.h"
#include "settings/config.h"
#include "settings/load.h"
#include "settings/setting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define ARGS_MAX 16

/* Each test runs in an empty folder with an environment of its own. */
struct place {
    char dir[64], home[4096];
};

static int enter(void **state)
{
    struct place *place = test_calloc(1, sizeof(*place));

    strcpy(place->dir, "/tmp/test_config.XXXXXX");
    if (!getcwd(place->home, sizeof(place->home)) || !mkdtemp(place->dir) || chdir(place->dir))
        return -1;
    clearenv();
    setenv("DATABASE_URL", "postgresql://u@h/d", 1);
    setenv("TOMBOLO_SECRET", "s3cret", 1);
    *state = place;
    return 0;
}

static int leave(void **state)
{
    struct place *place = *state;

    unlink("tombolo.ini");
    unlink("other.ini");
    int failed = chdir(place->home) || rmdir(place->dir);

    test_free(place);
    return failed;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The arguments behind argv[0], separated by NULL. */
static bool load(struct config *config, struct err *err, const char *const *args)
{
    static char program[] = "serve";
    char *argv[ARGS_MAX] = {program};
    int argc = 1;

    for (; args && *args; args++)
        argv[argc++] = (char *)(uintptr_t)*args;
    memset(err, 0, sizeof(*err));
    return config_load(config, argc, argv, err);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void load_or_fail(struct config *config, const char *const *args)
{
    struct err err;

    if (!load(config, &err, args))
        fail_msg("%s", err.msg);
}

static void assert_refused(const char *const *args, const char *msg)
{
    struct config config;
    struct err err;

    if (load(&config, &err, args))
        fail_msg("was not refused: %s", msg);
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.msg, msg);
    assert_null(config.database_url);
}

static void assert_shown(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static void assert_hidden(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in: %s", part, text);
}

static void test_defaults_are_what_the_documentation_promises(void **state)
{
    struct config c;

    (void)state;
    load_or_fail(&c, NULL);
    assert_string_equal(c.data_dir, "./tombolo-data");
    assert_string_equal(c.stream_id, "default");
    assert_string_equal(c.listen.host, "127.0.0.1");
    assert_int_equal(c.listen.port, 3000);
    assert_string_equal(c.metrics_listen.host, "");
    assert_int_equal(c.http_threads, 0);
    assert_int_equal(c.snapshot_workers, 4);
    assert_int_equal(c.max_shapes_per_request, 100);
    assert_int_equal(c.max_shapes, 0);
    assert_int_equal(c.segment_size, 64 << 20);
    assert_int_equal(c.chunk_size, 10485760);
    assert_int_equal(c.sync_interval_ms, 100);
    assert_int_equal(c.snapshot_timeout_ms, 30000);
    assert_int_equal(c.lock_timeout_ms, 5000);
    assert_int_equal(c.catalog_interval_ms, 10000);
    assert_int_equal(c.keepalive_ms, 10000);
    assert_int_equal(c.send_timeout_ms, 60000);
    assert_int_equal(c.header_timeout_ms, 10000);
    assert_int_equal(c.body_timeout_ms, 30000);
    assert_int_equal(c.idle_timeout_ms, 60000);
    assert_int_equal(c.shutdown_timeout_ms, 10000);
    assert_int_equal(c.log_level, LOG_INFO);
    assert_int_equal(c.log_format, LOG_LOGFMT);
    assert_false(c.insecure);
    config_free(&c);
    assert_null(c.data_dir);
}

static void test_flag_beats_environment_beats_file_beats_default(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[storage]\ndata_dir = file\n[http]\nthreads = 2\nkeepalive = 2s\n");
    setenv("TOMBOLO_DATA_DIR", "env", 1);
    setenv("TOMBOLO_HTTP_THREADS", "3", 1);
    load_or_fail(&c, ARGS("--data-dir", "flag"));
    assert_string_equal(c.data_dir, "flag");
    assert_int_equal(c.http_threads, 3);
    assert_int_equal(c.keepalive_ms, 2000);
    assert_int_equal(c.idle_timeout_ms, 60000);
    config_free(&c);
}

static void test_empty_variable_counts_as_not_set(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[storage]\ndata_dir = file\n");
    setenv("TOMBOLO_DATA_DIR", "", 1);
    setenv("TOMBOLO_INSECURE", "", 1);
    load_or_fail(&c, NULL);
    assert_string_equal(c.data_dir, "file");
    config_free(&c);
}

static void test_first_name_in_the_environment_beats_its_alias(void **state)
{
    struct config c;

    (void)state;
    setenv("TOMBOLO_DATABASE_URL", "host=ours", 1);
    load_or_fail(&c, NULL);
    assert_string_equal(c.database_url, "host=ours");
    config_free(&c);
    setenv("DATABASE_URL", "nonsense", 1); /* the application's own: not looked at */
    load_or_fail(&c, NULL);
    config_free(&c);
    unsetenv("TOMBOLO_DATABASE_URL");
    assert_refused(NULL, "environment: DATABASE_URL: this value (which is secret) is not allowed; "
                         "it must be postgresql://... or key=value pairs");
}

static void test_variables_that_kubernetes_makes_are_ignored(void **state)
{
    struct config c;

    (void)state;
    setenv("TOMBOLO_PORT", "tcp://10.0.0.1:3000", 1);
    setenv("TOMBOLO_SERVICE_HOST", "10.0.0.1", 1);
    load_or_fail(&c, NULL);
    config_free(&c);
}

static void test_file_is_named_by_flag_else_by_variable(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[http]\nthreads = 1\n");
    write_file("other.ini", "[http]\nthreads = 2\n");
    setenv("TOMBOLO_CONFIG", "other.ini", 1);
    load_or_fail(&c, NULL);
    assert_int_equal(c.http_threads, 2);
    config_free(&c);
    load_or_fail(&c, ARGS("--config=tombolo.ini"));
    assert_int_equal(c.http_threads, 1);
    config_free(&c);
}

static void test_named_file_must_exist(void **state)
{
    (void)state;
    assert_refused(ARGS("--config", "none.ini"),
                   "could not open none.ini: No such file or directory");
    setenv("TOMBOLO_CONFIG", "gone.ini", 1);
    assert_refused(NULL, "could not open gone.ini: No such file or directory");
    assert_refused(ARGS("--config", "/"), "could not read /: Is a directory");
}

static void test_error_names_the_place_the_value_and_what_is_allowed(void **state)
{
    (void)state;
    assert_refused(ARGS("--http-threads", "many"),
                   "--http-threads: \"many\" is not allowed; it must be an integer from 0 to 1024");
    setenv("TOMBOLO_HTTP_THREADS", "1025", 1);
    assert_refused(NULL, "environment: TOMBOLO_HTTP_THREADS: \"1025\" is not allowed; it must be "
                         "an integer from 0 to 1024");
    unsetenv("TOMBOLO_HTTP_THREADS");
    write_file("tombolo.ini", "; mine\n[http]\n  threads = -1\n");
    assert_refused(NULL, "tombolo.ini:3: [http] threads: \"-1\" is not allowed; it must be an "
                         "integer from 0 to 1024");
}

static void test_each_type_refuses_what_is_not_one(void **state)
{
    static const struct {
        const char *flag, *bad[12], *allowed;
    } cases[] = {
        {"--snapshot-workers",
         {"", "0", "65", "-1", "+1", "1.5", "1x", " 1", "9223372036854775808", "0x4"},
         "an integer from 1 to 64"},
        {"--segment-size",
         {"", "64", "1XB", "MB", "1.5MB", "4GB", "9999999999TB", "17592186044417MB", "64mb",
          "64MB "},
         "bytes, or a size in kB, MB or GB, from 64kB to 4294967295"},
        {"--sync-interval",
         {"", "100", "0", "1m", "2min", "5 seconds", "-1s", "99999999999999999h"},
         "a duration in ms, s, min or h, from 1ms to 1min"},
        {"--listen",
         {"", "3000", ":3000", "localhost", "localhost:", "localhost:65536", "a b:1", "[::1]",
          "[::1:3000", "::1:3000", "[zz]:1", "http://x:1"},
         "host:port, as 127.0.0.1:3000 or [::1]:3000"},
        {"--metrics-listen",
         {"9090", "[]:1", "x:-1"},
         "host:port, as 127.0.0.1:3000 or [::1]:3000, or nothing"},
        {"--stream-id",
         {"", "A", "a-b", "a b", "\xc3\xa9", "a2345678901234567890123456789012345678901"},
         "1 to 40 lower-case letters, digits and underscores"},
        {"--log-level", {"", "INFO", "trace", "0"}, "error, warn, info or debug"},
        {"--log-format", {"xml"}, "logfmt or json"},
        {"--data-dir", {"", "a\nb"}, "any text that is not empty"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (const char *const *bad = cases[i].bad; *bad; bad++) {
            struct config c;
            struct err err;

            if (load(&c, &err, ARGS(cases[i].flag, *bad)))
                fail_msg("%s takes \"%s\"", cases[i].flag, *bad);
            assert_int_equal(strncmp(err.msg, cases[i].flag, strlen(cases[i].flag)), 0);
            const char *allowed = strstr(err.msg, "; it must be ");
            assert_non_null(allowed);
            assert_string_equal(allowed + 13, cases[i].allowed);
        }
    }
    assert_refused(ARGS("--insecure=maybe"),
                   "--insecure: \"maybe\" is not allowed; it must be true or false");
}

static void test_each_type_takes_its_notations(void **state)
{
    struct config c;

    (void)state;
    unsetenv("TOMBOLO_SECRET");
    load_or_fail(&c,
                 ARGS("--segment-size", "70000", "--chunk-size=512 KiB", "--sync-interval", "1min",
                      "--shutdown-timeout", "0", "--listen", "[::1]:0", "--metrics-listen",
                      "my-host.local:9090", "--log-level", "debug", "--insecure"));
    assert_int_equal(c.segment_size, 70000);
    assert_int_equal(c.chunk_size, 512 * 1024);
    assert_int_equal(c.sync_interval_ms, 60000);
    assert_int_equal(c.shutdown_timeout_ms, 0);
    assert_string_equal(c.listen.host, "::1");
    assert_int_equal(c.listen.port, 0);
    assert_string_equal(c.metrics_listen.host, "my-host.local");
    assert_int_equal(c.metrics_listen.port, 9090);
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_true(c.insecure);
    config_free(&c);
    setenv("TOMBOLO_INSECURE", "on", 1);
    setenv("TOMBOLO_METRICS_LISTEN", "x:1", 1);
    load_or_fail(&c, ARGS("--metrics-listen="));
    assert_true(c.insecure);
    assert_string_equal(c.metrics_listen.host, "");
    config_free(&c);
}

static void test_starts_with_a_secret_or_insecure_and_not_with_both(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[http]\ninsecure = true\n");
    assert_refused(NULL, "both a secret and insecure are set, where it must be one of them: "
                         "environment: TOMBOLO_SECRET and tombolo.ini:2: [http] insecure");
    unsetenv("TOMBOLO_SECRET");
    load_or_fail(&c, NULL);
    config_free(&c);
    assert_refused(ARGS("--insecure=false"),
                   "there is no secret: set either TOMBOLO_SECRET or TOMBOLO_INSECURE=true");
    load_or_fail(&c, ARGS("--insecure=false", "--secret", "x"));
    assert_string_equal(c.secret, "x");
    config_free(&c);
}

static void test_does_not_start_without_a_database(void **state)
{
    (void)state;
    unsetenv("DATABASE_URL");
    assert_refused(NULL, "no database is named: set DATABASE_URL");
}

static void test_unknown_flags_are_refused_without_their_values(void **state)
{
    (void)state;
    assert_refused(ARGS("--secrt=hunter2"), "--secrt is no flag");
    assert_refused(ARGS("--secret", "hunter2", "-xyz"), "-x is no flag");
    assert_refused(ARGS("--help=hunter2"), "--help takes no value");
    assert_refused(ARGS("--secret"), "--secret needs a value");
    assert_refused(ARGS("--secret", "a", "hunter2"), "argument 3 is not a flag");
}

static void test_unknown_entry_of_the_file_names_the_section_it_belongs_to(void **state)
{
    struct config c;
    struct err err;

    (void)state;
    write_file("tombolo.ini", "\n[database]\nlisten = x:1\n");
    assert_false(load(&c, &err, NULL));
    assert_string_equal(err.msg,
                        "tombolo.ini:3: there is no setting \"listen\" in section [database]");
    assert_string_equal(err.hint, "it belongs under [http]");
    write_file("tombolo.ini", "lisen = x:1\n");
    assert_refused(NULL, "tombolo.ini:1: there is no setting \"lisen\" in section []");
}

static void test_entry_of_the_file_is_set_once(void **state)
{
    (void)state;
    write_file("tombolo.ini", "[http]\nthreads = 1\n[shapes]\n[http]\nthreads = 1\n");
    assert_refused(NULL, "tombolo.ini:5: [http] threads is set a second time, first in line 2");
}

static void test_first_fault_of_the_file_is_the_one_that_is_told(void **state)
{
    (void)state;
    write_file("tombolo.ini", "[http]\nnonsense\nthreads = x\n");
    assert_refused(NULL, "tombolo.ini:2: neither [section] nor name = value nor a comment");
    write_file("tombolo.ini", "[http]\nthreads = x\nnonsense\n");
    assert_refused(NULL, "tombolo.ini:2: [http] threads: \"x\" is not allowed; it must be an "
                         "integer from 0 to 1024");
    write_file("tombolo.ini", "[http] x\n");
    assert_refused(NULL, "tombolo.ini:1: neither [section] nor name = value nor a comment");
}

static void test_file_may_be_indented_commented_and_have_crlf(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini",
               "\xef\xbb\xbf# one\r\n\t[storage] ; two\r\n\tdata_dir = a b;c ; three\r\n"
               "\tsegment_size : 1MB\r\n\t; sync_interval = x \\\r\n[http]\r\nthreads=2");
    load_or_fail(&c, NULL);
    assert_string_equal(c.data_dir, "a b;c");
    assert_int_equal(c.segment_size, 1 << 20);
    assert_int_equal(c.http_threads, 2);
    config_free(&c);
}

static void test_long_value_goes_on_in_the_next_line_and_is_never_cut(void **state)
{
    char text[1024];
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[storage]\ndata_dir = a/ \\ ; no space comes with it\n"
                              "    b=c/\\\n\td\nsegment_size = 1MB\n");
    load_or_fail(&c, NULL);
    assert_string_equal(c.data_dir, "a/b=c/d");
    assert_int_equal(c.segment_size, 1 << 20);
    config_free(&c);

    write_file("tombolo.ini", "[storage]\ndata_dir = a\\\n#b\n");
    assert_refused(NULL, "tombolo.ini:3: the line before goes on here, but there is nothing");

    snprintf(text, sizeof(text), "[storage]\ndata_dir = %0179d\n", 0);
    write_file("tombolo.ini", text);
    load_or_fail(&c, NULL);
    assert_int_equal(strlen(c.data_dir), 179);
    config_free(&c);
    snprintf(text, sizeof(text), "[storage]\ndata_dir = %0180d\n", 0);
    write_file("tombolo.ini", text);
    assert_refused(NULL, "tombolo.ini:2: the line is too long");
}

static void test_nul_byte_in_the_file_is_refused(void **state)
{
    static char text[] = "[http]\nthreads = 1\0 2\n";
    struct config c;
    struct err err;
    FILE *f = fmemopen(text, sizeof(text) - 1, "r");

    (void)state;
    assert_false(config_read_file(&c, f, "x.ini", &err));
    assert_string_equal(err.msg, "x.ini:2: there is a NUL byte in the line");
    fclose(f);
}

static void test_value_in_a_message_is_cut_and_cleaned(void **state)
{
    char value[200];

    (void)state;
    memset(value, 'x', sizeof(value));
    value[0] = '\033';
    value[sizeof(value) - 1] = '\0';
    assert_refused(ARGS("--log-level", value),
                   "--log-level: \"?xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
                   "\" is not allowed; it must be error, warn, info or debug");
}

static void test_passwords_in_a_connection_string_are_masked(void **state)
{
    static const char *const cases[][2] = {
        {"postgresql://u:pw@h:5432/d?sslmode=require",
         "postgresql://u:***@h:5432/d?sslmode=require"},
        {"postgres://u:p@w/x?y@h/d", "postgres://u:***@h/d"},
        {"postgres://u@h/d?password=pw&sslpassword=pw&user=u",
         "postgres://u@h/d?password=***&sslpassword=***&user=u"},
        {"postgres://h/d?pass%77ord=pw", "postgres://h/d?pass%77ord=***"},
        {"postgres://h:5432/d", "postgres://h:5432/d"},
        {"host=h password = 'p \\' w' user=u", "host=h password=*** user=u"},
        {"host=h password=p\\ w user='a b'", "host=h password=*** user='a b'"},
        {"host=h password=pw more", "host=h password=*** ***"},
        {"password='never closed user=u", "password=***"},
        {"mysql://u:pw@h/d", "***"},
        {"pw", "***"},
        {"", ""},
    };
    struct buf out;

    (void)state;
    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&out);
        config_mask(&out, cases[i][0]);
        assert_string_equal(buf_cstr(&out), cases[i][1]);
    }
    buf_release(&out);
}

typedef void print_fn(FILE *out);

static char *printed(print_fn *print)
{
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    print(f);
    fclose(f);
    return text;
}

static void test_values_in_force_are_shown_without_secrets(void **state)
{
    struct config c;
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    load_or_fail(&c, ARGS("--database-url", "postgres://u:hunter2@h/d", "--sync-interval", "1500ms",
                          "--listen", "[::1]:80"));
    config_print_values(&c, f);
    fclose(f);
    assert_hidden(text, "hunter2");
    assert_hidden(text, "s3cret");
    assert_shown(text, "[database] url = postgres://u:***@h/d\n");
    assert_shown(text, "[http] secret = ***\n");
    assert_shown(text, "[http] insecure = false\n");
    assert_shown(text, "[http] listen = [::1]:80\n");
    assert_shown(text, "[http] metrics_listen = \n");
    assert_shown(text, "[storage] sync_interval = 1500ms\n");
    assert_shown(text, "[storage] chunk_size = 10MB\n");
    assert_shown(text, "[logging] level = info\n");
    free(text);
    config_free(&c);
}

static void test_secret_with_a_bad_value_is_not_in_the_message(void **state)
{
    (void)state;
    assert_refused(ARGS("--secret", "hunter2\n"),
                   "--secret: this value (which is secret) is not allowed; it must be text without "
                   "control characters");
    assert_refused(ARGS("--database-url", "hunter2"),
                   "--database-url: this value (which is secret) is not allowed; it must be "
                   "postgresql://... or key=value pairs");
}

static void test_help_flag_asks_for_nothing_else(void **state)
{
    struct config c;

    (void)state;
    unsetenv("DATABASE_URL");
    load_or_fail(&c, ARGS("--help"));
    assert_true(c.help);
    config_free(&c);
    load_or_fail(&c, ARGS("-h"));
    assert_true(c.help);
    config_free(&c);
}

static void test_help_and_documentation_have_every_setting(void **state)
{
    char *help = printed(config_print_help), *doc = printed(config_print_doc);

    (void)state;
    for (size_t i = 0; i < nsettings; i++) {
        char flag[80], name[80];

        snprintf(flag, sizeof(flag), "--%s", settings[i].flag);
        snprintf(name, sizeof(name), "### `%s`", settings[i].name);
        assert_shown(help, flag);
        assert_shown(doc, flag);
        assert_shown(doc, name);
        for (const char *const *env = settings[i].env; *env; env++) {
            assert_shown(help, *env);
            assert_shown(doc, *env);
        }
    }
    for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 90);
    free(help);
    free(doc);
}

static void test_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];

        assert_non_null(s->env[0]);
        assert_ptr_equal(setting_find(s->section, s->name), s);
        assert_false(s->reloadable && (setting_is_string(s) || s->type == SETTING_ADDRESS));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(settings[k].flag, s->flag);
            assert_int_not_equal(settings[k].at, s->at);
        }
    }
}

static bool reload(struct config *config, struct buf *restart, struct err *err)
{
    static char program[] = "serve";
    char *argv[] = {program, NULL};

    return config_reload(config, 1, argv, restart, err);
}

static void test_reload_takes_on_what_it_may_and_names_the_rest(void **state)
{
    struct config c;
    struct buf restart;
    struct err err;

    (void)state;
    buf_init(&restart, BUF_NO_LIMIT);
    load_or_fail(&c, NULL);
    write_file("tombolo.ini", "[storage]\ndata_dir = new\n[http]\n"
                              "shutdown_timeout = 7ms\nlisten = x:1\n[logging]\nlevel = debug\n");
    assert_true(reload(&c, &restart, &err));
    assert_int_equal(c.shutdown_timeout_ms, 7);
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_string_equal(c.data_dir, "./tombolo-data");
    assert_string_equal(c.listen.host, "127.0.0.1");
    assert_string_equal(buf_cstr(&restart), "[storage] data_dir, [http] listen");
    buf_release(&restart);
    config_free(&c);
}

static void test_reload_of_a_bad_file_changes_nothing(void **state)
{
    struct config c;
    struct buf restart;
    struct err err;

    (void)state;
    buf_init(&restart, BUF_NO_LIMIT);
    load_or_fail(&c, NULL);
    write_file("tombolo.ini", "[http]\nshutdown_timeout = 7ms\n[storage]\nsegment_size = x\n");
    assert_false(reload(&c, &restart, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(c.shutdown_timeout_ms, 10000);
    assert_int_equal(restart.len, 0);
    buf_release(&restart);
    config_free(&c);
}

static void test_electrics_names_mean_what_they_mean_there(void **state)
{
    struct config c;

    (void)state;
    unsetenv("TOMBOLO_SECRET");
    setenv("ELECTRIC_INSECURE", "true", 1);
    setenv("ELECTRIC_PORT", "3010", 1);
    setenv("ELECTRIC_PROMETHEUS_PORT", "9090", 1);
    setenv("ELECTRIC_STORAGE_DIR", "./persistent", 1);
    setenv("ELECTRIC_REPLICATION_STREAM_ID", "blue", 1);
    setenv("ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD", "20000", 1);
    setenv("ELECTRIC_TCP_SEND_TIMEOUT", "5s", 1);
    setenv("ELECTRIC_TCP_READ_TIMEOUT", "7000", 1);
    setenv("ELECTRIC_LOG_LEVEL", "warning", 1);
    setenv("ELECTRIC_LONG_POLL_TIMEOUT", "2500", 1);
    setenv("ELECTRIC_CACHE_MAX_AGE", "6", 1);
    setenv("ELECTRIC_CACHE_STALE_AGE", "7", 1);
    setenv("ELECTRIC_MAX_CONCURRENT_REQUESTS", "{\"initial\": 30, \"existing\":40}", 1);
    setenv("ELECTRIC_ENABLE_INTEGRATION_TESTING", "true", 1);
    load_or_fail(&c, NULL);
    assert_int_equal(c.long_poll_timeout_ms, 2500);
    assert_int_equal(c.cache_max_age_ms, 6000);
    assert_int_equal(c.cache_stale_age_ms, 7000);
    assert_int_equal(c.max_concurrent_initial, 30);
    assert_int_equal(c.max_concurrent_existing, 40);
    assert_true(c.allow_delete);
    assert_true(c.insecure);
    assert_string_equal(c.listen.host, "0.0.0.0");
    assert_int_equal(c.listen.port, 3010);
    assert_string_equal(c.metrics_listen.host, "0.0.0.0");
    assert_int_equal(c.metrics_listen.port, 9090);
    assert_string_equal(c.data_dir, "./persistent");
    assert_string_equal(c.stream_id, "blue");
    assert_int_equal(c.chunk_size, 20000);
    assert_int_equal(c.send_timeout_ms, 5000);
    assert_int_equal(c.idle_timeout_ms, 7000);
    assert_int_equal(c.log_level, LOG_WARN);
    config_free(&c);
    setenv("ELECTRIC_LISTEN_ON_IPV6", "true", 1);
    load_or_fail(&c, NULL);
    assert_string_equal(c.listen.host, "::");
    config_free(&c);
}

static void test_our_name_beats_electrics(void **state)
{
    struct config c;

    (void)state;
    setenv("ELECTRIC_SECRET", "theirs", 1);
    setenv("ELECTRIC_PORT", "3010", 1);
    load_or_fail(&c, ARGS("--listen", "127.0.0.1:4000"));
    assert_string_equal(c.secret, "s3cret");
    assert_int_equal(c.listen.port, 4000);
    config_free(&c);
    unsetenv("TOMBOLO_SECRET");
    load_or_fail(&c, NULL);
    assert_string_equal(c.secret, "theirs");
    config_free(&c);
}

static void test_value_of_electrics_that_cannot_be_read_names_its_variable(void **state)
{
    (void)state;
    setenv("ELECTRIC_PORT", "many", 1);
    assert_refused(NULL, "environment: ELECTRIC_PORT: \"0.0.0.0:many\" is not allowed; it must be "
                         "host:port, as 127.0.0.1:3000 or [::1]:3000");
}

static void test_electrics_names_without_a_counterpart_are_told(void **state)
{
    struct buf names;

    (void)state;
    setenv("ELECTRIC_DB_POOL_SIZE", "20", 1);
    setenv("ELECTRIC_STORAGE_DIR", "./persistent", 1);
    setenv("ELECTRIC_LISTEN_ON_IPV6", "true", 1);
    setenv("ELECTRIC_OTLP_ENDPOINT", "", 1);
    setenv("CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN", "true", 1);
    buf_init(&names, BUF_NO_LIMIT);
    config_electric_ignored(&names);
    assert_string_equal(buf_cstr(&names),
                        "ELECTRIC_DB_POOL_SIZE, CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN");
    buf_release(&names);
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, enter, leave)

static const char *property(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->kafka_properties.n; i++) {
        if (strcmp(c->kafka_properties.list[i].name, name) == 0)
            return c->kafka_properties.list[i].value;
    }
    return NULL;
}

static void test_properties_of_librdkafka_come_from_file_and_environment(void **state)
{
    struct config c;

    (void)state;
    write_file("tombolo.ini", "[kafka]\nbrokers = b:9092\nstream = true\n"
                              "property.security.protocol = SASL_SSL\n"
                              "property.sasl.password = s3same\nproperty.linger.ms = 7\n");
    setenv("TOMBOLO_KAFKA_PROPERTY_LINGER_MS", "9", 1);
    setenv("TOMBOLO_KAFKA_PROPERTY_SASL_USERNAME", "ali", 1);
    load_or_fail(&c, NULL);
    assert_string_equal(property(&c, "security.protocol"), "SASL_SSL");
    assert_string_equal(property(&c, "linger.ms"), "9");
    assert_string_equal(property(&c, "sasl.username"), "ali");
    assert_int_equal(c.kafka_properties.n, 4);
    assert_true(config_property_is_secret("sasl.password"));
    assert_true(config_property_is_secret("ssl.key.pem"));
    assert_false(config_property_is_secret("sasl.username"));
    config_free(&c);
    write_file("tombolo.ini", "[kafka]\nproperty. = x\n");
    assert_refused(NULL, "tombolo.ini:2: this is no name of a property");
}

/* With a timeout a record could be given up, and the one behind it be there. */
static void test_a_property_that_could_lose_records_is_refused(void **state)
{
    (void)state;
    write_file("tombolo.ini", "[kafka]\nproperty.message.timeout.ms = 30000\n");
    assert_refused(NULL, "[kafka] property.message.timeout.ms is not to be chosen");
    write_file("tombolo.ini", "");
    setenv("TOMBOLO_KAFKA_PROPERTY_ACKS", "1", 1);
    assert_refused(NULL, "[kafka] property.acks is not to be chosen");
}

static void test_what_is_published_where_is_said_in_full(void **state)
{
    (void)state;
    assert_refused(ARGS("--kafka-brokers", "b:9092"),
                   "[kafka] brokers are named, but nothing is to be published");
    assert_refused(ARGS("--kafka-stream"),
                   "[kafka] stream is to be published, but no brokers are named");
    assert_refused(ARGS("--source", "kafka://b/p", "--kafka-brokers", "b:9092", "--kafka-stream"),
                   "a fan-out node (source) does not publish: take [kafka] brokers away");
    assert_refused(ARGS("--source", "b:9092"),
                   "[database] source must be kafka://broker[:port][,...]/prefix, or empty");
    assert_refused(ARGS("--kafka-prefix", "a b"),
                   "[kafka] prefix must be 1 to 100 letters, digits, dots, dashes and underscores");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_PLACE(test_defaults_are_what_the_documentation_promises),
        IN_A_PLACE(test_flag_beats_environment_beats_file_beats_default),
        IN_A_PLACE(test_empty_variable_counts_as_not_set),
        IN_A_PLACE(test_first_name_in_the_environment_beats_its_alias),
        IN_A_PLACE(test_variables_that_kubernetes_makes_are_ignored),
        IN_A_PLACE(test_file_is_named_by_flag_else_by_variable),
        IN_A_PLACE(test_named_file_must_exist),
        IN_A_PLACE(test_error_names_the_place_the_value_and_what_is_allowed),
        IN_A_PLACE(test_each_type_refuses_what_is_not_one),
        IN_A_PLACE(test_each_type_takes_its_notations),
        IN_A_PLACE(test_starts_with_a_secret_or_insecure_and_not_with_both),
        IN_A_PLACE(test_does_not_start_without_a_database),
        IN_A_PLACE(test_unknown_flags_are_refused_without_their_values),
        IN_A_PLACE(test_unknown_entry_of_the_file_names_the_section_it_belongs_to),
        IN_A_PLACE(test_entry_of_the_file_is_set_once),
        IN_A_PLACE(test_first_fault_of_the_file_is_the_one_that_is_told),
        IN_A_PLACE(test_file_may_be_indented_commented_and_have_crlf),
        IN_A_PLACE(test_long_value_goes_on_in_the_next_line_and_is_never_cut),
        IN_A_PLACE(test_nul_byte_in_the_file_is_refused),
        IN_A_PLACE(test_value_in_a_message_is_cut_and_cleaned),
        IN_A_PLACE(test_passwords_in_a_connection_string_are_masked),
        IN_A_PLACE(test_values_in_force_are_shown_without_secrets),
        IN_A_PLACE(test_secret_with_a_bad_value_is_not_in_the_message),
        IN_A_PLACE(test_help_flag_asks_for_nothing_else),
        IN_A_PLACE(test_help_and_documentation_have_every_setting),
        IN_A_PLACE(test_table_is_sound),
        IN_A_PLACE(test_reload_takes_on_what_it_may_and_names_the_rest),
        IN_A_PLACE(test_reload_of_a_bad_file_changes_nothing),
        IN_A_PLACE(test_electrics_names_mean_what_they_mean_there),
        IN_A_PLACE(test_our_name_beats_electrics),
        IN_A_PLACE(test_value_of_electrics_that_cannot_be_read_names_its_variable),
        IN_A_PLACE(test_electrics_names_without_a_counterpart_are_told),
        IN_A_PLACE(test_properties_of_librdkafka_come_from_file_and_environment),
        IN_A_PLACE(test_a_property_that_could_lose_records_is_refused),
        IN_A_PLACE(test_what_is_published_where_is_said_in_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
