/* The numbers of tar: octal or base 256 in headers, decimal in pax records. */
#include "wire/tar.h"

#include <string.h>

/* Two's complement, the highest bit but one carries the sign, the highest only says that it is base 256. */
static bool number_binary(const uint8_t *p, size_t len, int64_t *out)
{
    bool negative = p[0] & 0x40;
    uint64_t v = negative ? UINT64_MAX : 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = i ? p[i] : (uint8_t)((p[0] & 0x7f) | (negative ? 0x80 : 0));
        uint64_t high = v >> 55;
        if (high != 0 && high != UINT64_MAX >> 55)
            return false;
        v = v << 8 | byte;
    }
    if ((v >> 63 != 0) != negative)
        return false;
    *out = (int64_t)v;
    return true;
}

bool vmctl_tar_number(const uint8_t *p, size_t len, int64_t *out)
{
    if (p[0] & 0x80)
        return number_binary(p, len, out);
    size_t i = 0;
    uint64_t v = 0;
    while (i < len && (p[i] == ' ' || p[i] == 0))
        i++;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
        if (v >> 59)
            return false;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    while (i < len && (p[i] == ' ' || p[i] == 0))
        i++;
    *out = (int64_t)v;
    return i == len;
}

bool vmctl_tar_decimal(const char *text, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || v > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return len > 0;
}

bool vmctl_tar_time(const char *text, size_t len, int64_t *seconds, uint32_t *nsec)
{
    bool negative = len && text[0] == '-';
    const char *digits = text + negative, *dot = memchr(text, '.', len);
    size_t whole = (dot ? (size_t)(dot - text) : len) - negative;
    uint64_t v;
    uint32_t fraction = 0, unit = 100000000;
    if (!vmctl_tar_decimal(digits, whole, &v))
        return false;
    for (size_t i = whole + negative + 1; dot && i < len; i++, unit /= 10) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        fraction += unit * (uint32_t)(text[i] - '0');
    }
    *seconds = negative ? -(int64_t)v : (int64_t)v;
    if (negative && fraction) {
        (*seconds)--;
        fraction = 1000000000 - fraction;
    }
    *nsec = fraction;
    return true;
}
