/* The Unix-socket handshake: keyword, space, number and perhaps a CR are taken, nothing else is, and it prints back. */
#include "fuzz.h"

#include "wire/hybrid.h"
#include "wire/line.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

typedef int parser(const char *line, size_t len, uint32_t *number);

/* The same contract, from the other end: cut off the CR, then the digits, and see whether the keyword is left. */
static bool slow_parse(const char *line, size_t len, const char *word, bool any_case, uint32_t *number)
{
    if (len >= VMCTL_HYBRID_LINE_MAX)
        return false;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    char text[VMCTL_HYBRID_LINE_MAX] = { 0 };
    memcpy(text, line, len);
    size_t at = len;
    while (at > 0 && isdigit((unsigned char)text[at - 1]))
        at--;
    errno = 0;
    unsigned long long n = strtoull(text + at, NULL, 10);
    if (at == len || errno != 0 || n > UINT32_MAX || at != strlen(word))
        return false;
    for (size_t i = 0; i < at; i++)
        if ((any_case ? toupper((unsigned char)text[i]) : text[i]) != word[i])
            return false;
    *number = (uint32_t)n;
    return true;
}

static void check_printed(parser *parse, const char *word, uint32_t number)
{
    char line[VMCTL_HYBRID_LINE_MAX];
    int len = snprintf(line, sizeof line, "%s%" PRIu32, word, number);
    CHECK(len > 0 && len < VMCTL_HYBRID_LINE_MAX);
    uint32_t again = ~number;
    CHECK(parse(line, (size_t)len, &again) == 0 && again == number);

    /* Leading zeros are fine until the line with its LF is too long: 31 bytes are taken, 32 are not. */
    char padded[VMCTL_HYBRID_LINE_MAX + 1];
    int width = VMCTL_HYBRID_LINE_MAX - (int)strlen(word);
    len = snprintf(padded, sizeof padded, "%s%0*" PRIu32, word, width - 1, number);
    CHECK(parse(padded, (size_t)len, &again) == 0 && again == number);
    len = snprintf(padded, sizeof padded, "%s%0*" PRIu32, word, width, number);
    CHECK(parse(padded, (size_t)len, &again) == -EPROTO);
}

static void check_line(parser *parse, const char *word, bool any_case, const uint8_t *data, size_t size)
{
    char *line = (char *)fuzz_copy(data, size);
    uint32_t fast = 12345, slow;
    int err = parse(line, size, &fast);
    CHECK(err == 0 || err == -EPROTO);
    CHECK((err == 0) == slow_parse(line, size, word, any_case, &slow));
    CHECK(fast == (err ? 12345 : slow)); /* untouched on failure */
    if (!err)
        check_printed(parse, word, fast);
    free(line);
}

static void check_both(const uint8_t *line, size_t size)
{
    check_line(vmctl_hybrid_parse_connect, "CONNECT ", true, line, size);
    check_line(vmctl_hybrid_parse_ok, "OK ", false, line, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_both(data, size);

    struct vmctl_line line;
    size_t scanned = 0;
    if (vmctl_line_peek(data, size, VMCTL_HYBRID_LINE_MAX, &scanned, &line) == VMCTL_LINE_DONE)
        check_both(data, line.size);

    uint32_t number = 0;
    memcpy(&number, data, size < sizeof number ? size : sizeof number);
    check_printed(vmctl_hybrid_parse_connect, "CONNECT ", number);
    check_printed(vmctl_hybrid_parse_ok, "OK ", number);
    return 0;
}
