/*
 * libinih splits sections, names and values. What it would do silently is done
 * before it, as it asks for lines: an indented line would go on with the value
 * before (and lose its own name), a long one would be cut, a NUL would end it.
 * Line by line it is given text without indentation and comments; the second
 * line of a joined value gets one space in front, which is libinih's sign for
 * "goes on", and comes to the handler with the same name again.
 */
#include "settings/inifile.h"
#include "base/buf.h"

#include <ctype.h>
#include <ini.h>
#include <stdlib.h>

struct inifile {
    FILE *file;
    const char *path;
    inifile_take_fn *take;
    void *arg;
    struct err *err;
    bool failed;
    int line;           /* that was read last */
    bool joined, joins; /* it goes on with the one before; the next one goes on with it */
    char *text;         /* getline()'s */
    size_t text_size;
    char section[INIFILE_NAME + 15], name[INIFILE_NAME + 15]; /* of the entry that may yet go on */
    int entry_line;                                           /* 0: none */
    struct buf value;
};

static bool fail(struct inifile *f, int line, const char *what)
{
    if (!f->failed)
        err_set(f->err, ERR_CONFIG, "%s:%d: %s", f->path, line, what);
    f->failed = true;
    return false;
}

/* Cuts comment and trailing space off; what is left begins behind the indentation. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    if (*text == ';' || *text == '#')
        *text = '\0';
    char *end = text;

    while (*end && !(*end == ';' && end > text && isspace((unsigned char)end[-1])))
        end++;
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return text;
}

/* Of what stands before = or :. */
static size_t name_length(const char *text)
{
    size_t len = strcspn(text, "=:");

    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    return len;
}

/* `size` is that of libinih's buffer. */
static bool check_line(struct inifile *f, const char *text, int size)
{
    size_t len = strlen(text);

    if (f->joined && len == 0)
        return fail(f, f->line, "the line before goes on here, but there is nothing");
    if (len > INIFILE_LINE || len + 3 > (size_t)size) {
        fail(f, f->line, "the line is too long");
        return err_hint(f->err, "at most %d bytes: end it with \\ and go on in the next line",
                        INIFILE_LINE);
    }
    bool section = text[0] == '[' && strchr(text, ']') == text + len - 1;

    if (len > 0 && !f->joined && !section && (text[0] == '[' || !strpbrk(text, "=:")))
        return fail(f, f->line, "neither [section] nor name = value nor a comment");
    if (!f->joined && (section ? len - 2 : name_length(text)) > INIFILE_NAME) {
        fail(f, f->line, "the name is too long");
        return err_hint(f->err, "at most %d bytes", INIFILE_NAME);
    }
    return true;
}

/* The entry is complete: hands it over. */
static void flush(struct inifile *f)
{
    struct inifile_entry entry = {f->section, f->name, buf_cstr(&f->value), f->entry_line};

    if (f->entry_line == 0 || f->failed)
        return;
    f->entry_line = 0;
    if (f->value.failed)
        fail(f, entry.line, "the value is too long");
    else if (!f->take(f->arg, &entry, f->err))
        f->failed = true;
}

/* libinih's ini_reader, like fgets(). By then it has handed over what the line before held. */
static char *next_line(char *out, int size, void *arg)
{
    struct inifile *f = arg;
    ssize_t n = f->failed ? -1 : getline(&f->text, &f->text_size, f->file);

    if (n < 0)
        return NULL;
    f->line++;
    if (strlen(f->text) != (size_t)n) {
        fail(f, f->line, "there is a NUL byte in the line");
        return NULL;
    }
    bool bom = f->line == 1 && strncmp(f->text, "\xef\xbb\xbf", 3) == 0;
    char *text = trim(f->text + (bom ? 3 : 0));

    f->joined = f->joins;
    if (!f->joined)
        flush(f);
    if (f->failed || !check_line(f, text, size))
        return NULL;
    size_t len = strlen(text);

    f->joins = len > 0 && text[len - 1] == '\\';
    snprintf(out, (size_t)size, "%s%.*s\n", f->joined ? " " : "", (int)(len - f->joins), text);
    return out;
}

/* libinih's ini_handler. Always content: what is wrong is kept in `f`. */
static int next_piece(void *arg, const char *section, const char *name, const char *value)
{
    struct inifile *f = arg;

    if (!f->joined) {
        snprintf(f->section, sizeof(f->section), "%s", section);
        snprintf(f->name, sizeof(f->name), "%s", name);
        f->entry_line = f->line;
        buf_clear(&f->value);
    }
    buf_put_cstr(&f->value, value);
    return 1;
}

bool inifile_is_rule(const char *section)
{
    return strncmp(section, "shape ", 6) == 0 || strncmp(section, "write ", 6) == 0;
}

bool inifile_read(FILE *file, const char *path, inifile_take_fn *take, void *arg, struct err *err)
{
    struct inifile f = {.file = file, .path = path, .take = take, .arg = arg, .err = err};

    buf_init(&f.value, INIFILE_VALUE);
    int bad_line = ini_parse_stream(next_line, &f, next_piece, &f);

    flush(&f);
    if (ferror(file) && !f.failed)
        f.failed = !err_errno(err, ERR_CONFIG, "could not read %s", path);
    if (bad_line != 0)
        fail(&f, bad_line, "libinih cannot read this line");
    buf_release(&f.value);
    free(f.text);
    return !f.failed;
}
