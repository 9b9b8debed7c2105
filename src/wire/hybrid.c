/* Reads the two lines of the hybrid handshake. */
#include "wire/hybrid.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* A decimal number of 32 bits that fills the text. Leading zeros are taken, as the monitors do; a sign is not. */
static int hybrid_parse_number(const char *text, size_t len, uint32_t *number)
{
    if (len == 0)
        return -EPROTO;
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EPROTO;
        n = n * 10 + (uint64_t)(text[i] - '0');
        if (n > UINT32_MAX)
            return -EPROTO;
    }
    *number = (uint32_t)n;
    return 0;
}

/* `word` is in upper case. No strncasecmp: its idea of upper case depends on the locale. */
static bool hybrid_equals(const char *text, const char *word, size_t len, bool any_case)
{
    for (size_t i = 0; i < len; i++) {
        bool letter = word[i] >= 'A' && word[i] <= 'Z';
        int other = any_case && letter ? word[i] - 'A' + 'a' : word[i];
        if (text[i] != word[i] && text[i] != other)
            return false;
    }
    return true;
}

/* `word` ends with the one space before the number. */
static int hybrid_parse(const char *line, size_t len, const char *word, bool any_case, uint32_t *number)
{
    size_t head = strlen(word);
    if (len > VMCTL_HYBRID_LINE_MAX - 1 || len < head || !hybrid_equals(line, word, head, any_case))
        return -EPROTO;
    if (line[len - 1] == '\r') /* len >= head > 0 */
        len--;
    return hybrid_parse_number(line + head, len - head, number);
}

/* All three known monitors take the keyword in any case. */
int vmctl_hybrid_parse_connect(const char *line, size_t len, uint32_t *port)
{
    return hybrid_parse(line, len, "CONNECT ", true, port);
}

/* The number is a port on the host's side, or the guest port that was asked for: it depends on the monitor. */
int vmctl_hybrid_parse_ok(const char *line, size_t len, uint32_t *number)
{
    return hybrid_parse(line, len, "OK ", false, number);
}
