/* Checks that bytes are UTF-8. */
#include "pb/utf8.h"

#include <stdint.h>
#include <string.h>

/* The bytes of the character at `s`, of which there are `left`; 0: it is none. The second byte alone tells overlong forms,
 * surrogates and what is too high. */
static size_t utf8_char(const uint8_t *s, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        len = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        len = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        len = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (len > left || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool vmctl_utf8_valid(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        if (len - at >= sizeof eight) { /* most texts are ASCII */
            memcpy(&eight, s + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight;
                continue;
            }
        }
        size_t n = utf8_char(s + at, len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}
