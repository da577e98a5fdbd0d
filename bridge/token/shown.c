#include "token/shown.h"

#define LONGEST 48

struct shown shown(struct slice s)
{
    struct shown out = {0};
    size_t n = s.len > LONGEST ? LONGEST : s.len;

    for (size_t i = 0; i < n; i++)
        out.text[i] = s.ptr[i] >= ' ' && s.ptr[i] <= '~' && s.ptr[i] != '"' ? s.ptr[i] : '?';
    if (s.len > LONGEST)
        memcpy(out.text + n, "...", 3);
    return out;
}
