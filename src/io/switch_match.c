/* Matches frames by addresses, types, and ports of TCP and UDP. */
#include "io/switch_match.h"

#include "io/pcap_filter.h"
#include "wire/ether.h"

enum { IPV4 = 0x0800, IPV6 = 0x86dd, TCP = 6, UDP = 17, FRAGMENT = 0x1fff };

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* The fields of a frame that a match looks at. */
struct look {
    unsigned type, protocol;
    const uint8_t *payload; /* of IP, in its first fragment; NULL: none */
    size_t left;
    bool is_ip;
};

static void look_ipv4(struct look *l, const uint8_t *at, size_t len)
{
    if (len < 20 || at[0] >> 4 != 4)
        return;
    size_t head = (size_t)(at[0] & 15) * 4;
    l->is_ip = true;
    l->protocol = at[9];
    if (head < 20 || head > len || get16(at + 6) & FRAGMENT)
        return;
    l->payload = at + head;
    l->left = len - head;
}

/* Extension headers are not parsed: the protocol is then that of the first one. */
static void look_ipv6(struct look *l, const uint8_t *at, size_t len)
{
    if (len < 40 || at[0] >> 4 != 6)
        return;
    *l = (struct look){ .type = l->type, .is_ip = true, .protocol = at[6], .payload = at + 40, .left = len - 40 };
}

static struct look look_at(const uint8_t *frame, size_t len)
{
    struct look l = { 0 };
    size_t at = 12;
    l.type = get16(frame + at);
    while ((l.type == 0x8100 || l.type == 0x88a8) && len - at >= 6)
        l.type = get16(frame + (at += 4));
    if (l.type == IPV4)
        look_ipv4(&l, frame + at + 2, len - at - 2);
    else if (l.type == IPV6)
        look_ipv6(&l, frame + at + 2, len - at - 2);
    return l;
}

static bool addresses_match(const struct vmctl_match *m, const uint8_t *frame)
{
    uint64_t to = vmctl_ether_address(frame), from = vmctl_ether_address(frame + 6);
    return (!m->to || m->to == to) && (!m->from || m->from == from) && (!m->either || m->either == to || m->either == from);
}

static bool port_matches(const struct vmctl_match *m, const struct look *l)
{
    if ((l->protocol != TCP && l->protocol != UDP) || !l->payload || l->left < 4)
        return false;
    return get16(l->payload) == m->port - 1 || get16(l->payload + 2) == m->port - 1;
}

static bool flags_match(const struct vmctl_match *m, const struct look *l)
{
    if (l->protocol != TCP || !l->payload || l->left < 14)
        return false;
    unsigned flags = l->payload[13];
    return (flags & m->flags_set) == m->flags_set && !(flags & m->flags_clear);
}

bool vmctl_match(const struct vmctl_match *m, const uint8_t *frame, size_t len)
{
    if (len < VMCTL_ETHER_MIN || !addresses_match(m, frame))
        return false;
    if (m->filter && !vmctl_pcap_filter_match(m->filter, frame, len))
        return false;
    bool flags = m->flags_set || m->flags_clear;
    if (!m->type && !m->protocol && !m->port && !flags)
        return true;
    struct look l = look_at(frame, len);
    return (!m->type || l.type == m->type - 1) && (!m->protocol || (l.is_ip && l.protocol == m->protocol - 1)) &&
           (!m->port || (l.is_ip && port_matches(m, &l))) && (!flags || (l.is_ip && flags_match(m, &l)));
}
