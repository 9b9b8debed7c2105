/* The words of the kernel's command line have "%XX" for bytes that it cannot hold. */
#include "agent/stage1.h"

#include <ctype.h>

static unsigned digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c | 0x20) - 'a' + 10;
}

/* Other text stays as it is. */
void vmctl_stage1_undo_percent(char *out, size_t size, const char *in)
{
    size_t n = 0;
    while (*in && n + 1 < size) {
        bool coded = *in == '%' && isxdigit((unsigned char)in[1]) && isxdigit((unsigned char)in[2]);
        out[n++] = coded ? (char)(digit(in[1]) << 4 | digit(in[2])) : *in;
        in += coded ? 3 : 1;
    }
    out[n] = '\0';
}
