/* Base64: agrees with an encoder that goes bit by bit; each text has one meaning and each meaning one text. */
#include "fuzz.h"

#include "wire/base64.h"

#include <errno.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned get_bit(const uint8_t *bytes, size_t len, size_t bit)
{
    return bit / 8 < len ? bytes[bit / 8] >> (7 - bit % 8) & 1u : 0;
}

static void check_encoded(const uint8_t *data, size_t size, const char *text, size_t len)
{
    CHECK(len == (size + 2) / 3 * 4);
    for (size_t i = 0; i < len; i++) {
        unsigned value = 0;
        for (size_t bit = 0; bit < 6; bit++)
            value = value << 1 | get_bit(data, size, i * 6 + bit);
        CHECK(text[i] == (i * 6 < size * 8 ? digits[value] : '='));
    }
}

static ssize_t decode(const char *text, size_t len, uint8_t **out)
{
    size_t room = len / 4 * 3;
    *out = malloc(room);
    CHECK(room == 0 || *out != NULL);
    ssize_t n = vmctl_base64_decode(text, len, *out);
    CHECK(n == -EPROTO || (n >= 0 && (size_t)n <= room));
    return n;
}

/* True if it is the text that the bit-by-bit encoder would write for some bytes. */
static int slow_valid(const uint8_t *text, size_t len)
{
    size_t ndigits = len;
    while (ndigits > 0 && len - ndigits < 2 && text[ndigits - 1] == '=')
        ndigits--;
    for (size_t i = 0; i < ndigits; i++)
        if (!memchr(digits, text[i], 64))
            return 0;
    if (len % 4 != 0)
        return 0;
    if (ndigits == len)
        return 1;
    unsigned last = (unsigned)((const char *)memchr(digits, text[ndigits - 1], 64) - digits);
    return (last & (ndigits % 4 == 2 ? 15u : 3u)) == 0;
}

static void check_bytes(const uint8_t *data, size_t size)
{
    size_t room = vmctl_base64_encoded_size(size);
    char *text = malloc(room);
    CHECK(room == 0 || text != NULL);
    size_t len = vmctl_base64_encode(data, size, text);
    CHECK(len == room);
    check_encoded(data, size, text, len);
    uint8_t *back;
    CHECK(decode(text, len, &back) == (ssize_t)size);
    CHECK(memcmp(back, data, size) == 0);
    free(back);
    free(text);
}

static void check_text(const uint8_t *text, size_t len)
{
    uint8_t *exact = fuzz_copy(text, len);
    uint8_t *bytes;
    ssize_t n = decode((const char *)exact, len, &bytes);
    CHECK((n >= 0) == slow_valid(exact, len));
    if (n >= 0)
        check_encoded(bytes, (size_t)n, (const char *)exact, len);
    free(bytes);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_bytes(data, size);
    check_text(data, size);
    check_text(data, size / 4 * 4); /* else three of four inputs are refused for their length alone */

    CHECK(vmctl_base64_encoded_size(SIZE_MAX) == 0);
    CHECK(vmctl_base64_encoded_size(SIZE_MAX / 4 * 3) == SIZE_MAX / 4 * 4);
    CHECK(vmctl_base64_encoded_size(SIZE_MAX / 4 * 3 + 1) == 0);
    return 0;
}
