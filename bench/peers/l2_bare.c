/*
 * A bare Ethernet forwarder, as little as one can be: epoll, a read, a table of addresses, one writev for each port that gets any
 * of it. It waits for slow ports, has no limits and checks nothing. All ports dial one socket. Usage: l2_bare PATH
 */

#include "bench.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD = 4, PORTS = 64, ROOM = 256 * 1024, RUNS = 64, SLOTS = 4096, EVENTS = 64 };

struct port {
    int fd;
    size_t have;                    /* bytes of a frame whose rest has not come */
    uint8_t part[HEAD + 65536];
    struct iovec run[RUNS];
    int runs;
};

static struct port *ports[PORTS];
static int nports;
static struct { uint64_t address; int port; } table[SLOTS];

static uint64_t address_at(const uint8_t *at)
{
    uint64_t a = 0;
    for (int i = 0; i < 6; i++)
        a = a << 8 | at[i];
    return a;
}

static size_t slot_of(uint64_t address)
{
    size_t i = (size_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 52);
    while (table[i].address && table[i].address != address)
        i = (i + 1) % SLOTS;
    return i;
}

static void send_runs(struct port *p)
{
    struct iovec *run = p->run;
    while (p->runs) {
        ssize_t n = writev(p->fd, run, p->runs);
        if (n < 0)
            bench_die("writev");
        for (; p->runs && (size_t)n >= run->iov_len; run++, p->runs--)
            n -= (ssize_t)run->iov_len;
        if (p->runs) {
            run->iov_base = (uint8_t *)run->iov_base + n;
            run->iov_len -= (size_t)n;
        }
    }
}

static void put(struct port *p, uint8_t *at, size_t total)
{
    struct iovec *last = p->runs ? &p->run[p->runs - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += total;
        return;
    }
    if (p->runs == RUNS)
        send_runs(p);
    p->run[p->runs++] = (struct iovec){ at, total };
}

static void forward(int from, uint8_t *at, size_t total)
{
    size_t source = slot_of(address_at(at + HEAD + 6));
    table[source].address = address_at(at + HEAD + 6);
    table[source].port = from;
    size_t to = at[HEAD] & 1 ? SLOTS : slot_of(address_at(at + HEAD));
    if (to < SLOTS && table[to].address) {
        put(ports[table[to].port], at, total);
        return;
    }
    for (int i = 0; i < nports; i++) {
        if (i != from)
            put(ports[i], at, total);
    }
}

static bool port_read(int index)
{
    static uint8_t room[ROOM];
    struct port *p = ports[index];
    memcpy(room, p->part, p->have);
    ssize_t n = read(p->fd, room + p->have, ROOM - p->have);
    if (n <= 0)
        return false;
    size_t have = p->have + (size_t)n, at = 0;
    while (have - at >= HEAD) {
        size_t total = HEAD + ((size_t)room[at] << 24 | (size_t)room[at + 1] << 16 | (size_t)room[at + 2] << 8 | room[at + 3]);
        if (have - at < total)
            break;
        forward(index, room + at, total);
        at += total;
    }
    for (int i = 0; i < nports; i++)
        send_runs(ports[i]);
    p->have = have - at;
    memcpy(p->part, room + at, p->have);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        bench_die_text("usage: l2_bare PATH");
    int listener = bench_listen(argv[1]), epoll = epoll_create1(0);
    struct epoll_event e = { .events = EPOLLIN, .data.fd = -1 }, events[EVENTS];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) < 0)
        bench_die("epoll");
    bench_ready();
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd >= 0) {
                if (!port_read(events[i].data.fd))
                    return 0;
                continue;
            }
            if (nports == PORTS || !(ports[nports] = calloc(1, sizeof *ports[nports])))
                bench_die_text("no room for a port");
            ports[nports]->fd = bench_accept(listener);
            e.data.fd = nports++;
            if (epoll_ctl(epoll, EPOLL_CTL_ADD, ports[e.data.fd]->fd, &e) < 0)
                bench_die("epoll");
        }
    }
}
