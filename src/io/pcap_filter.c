/* Loads libpcap, and compiles and runs its filters. Its types are declared here as its ABI has them, so that no headers are needed. */
#include "io/pcap_filter.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ETHERNET = 1, SNAPLEN = 262144 };

struct program {
    unsigned count;
    void *instructions;
};

/* A packet's head: its time, which filters do not look at, then how many bytes are there, and its length. With 32 bits a time may
 * have 8 bytes or 16, as libpcap was built, so that the lengths stand at both places. */
struct packet_head {
    _Alignas(8) uint32_t time[2];
    uint32_t lengths[4];
};

struct vmctl_pcap_filter {
    void *library;
    struct program program;
    void (*free_code)(struct program *);
    int (*match)(const struct program *, const struct packet_head *, const uint8_t *);
};

struct compiler {
    void *(*open_dead)(int link, int snaplen);
    int (*compile)(void *pcap, struct program *, const char *, int optimize, uint32_t netmask);
    char *(*error)(void *pcap);
    void (*close)(void *pcap);
};

/* A function's pointer cannot be cast from dlsym's result in ISO C; it is copied. */
static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static bool load(struct vmctl_pcap_filter *f, struct compiler *c)
{
    static const char *const names[] = { "libpcap.so.0.8", "libpcap.so.1" };
    for (size_t i = 0; !f->library && i < sizeof names / sizeof *names; i++)
        f->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return f->library && find(f->library, "pcap_open_dead", &c->open_dead) && find(f->library, "pcap_compile", &c->compile) &&
           find(f->library, "pcap_geterr", &c->error) && find(f->library, "pcap_close", &c->close) &&
           find(f->library, "pcap_freecode", &f->free_code) && find(f->library, "pcap_offline_filter", &f->match);
}

static int compile(struct vmctl_pcap_filter *f, const struct compiler *c, const char *expression, char *why, size_t size)
{
    void *pcap = c->open_dead(ETHERNET, SNAPLEN);
    if (!pcap)
        return -ENOMEM;
    int err = c->compile(pcap, &f->program, expression, 1, UINT32_MAX) < 0 ? -EINVAL : 0;
    if (err) {
        f->program.instructions = NULL;
        snprintf(why, size, "%s", c->error(pcap));
    }
    c->close(pcap);
    return err;
}

int vmctl_pcap_filter_compile(const char *expression, struct vmctl_pcap_filter **out, char *why, size_t size)
{
    struct compiler c;
    struct vmctl_pcap_filter *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    int err = load(f, &c) ? compile(f, &c, expression, why, size) : -ENOSYS;
    if (err)
        vmctl_pcap_filter_free(f);
    else
        *out = f;
    return err;
}

bool vmctl_pcap_filter_match(const struct vmctl_pcap_filter *f, const uint8_t *frame, size_t len)
{
    const uint32_t n = (uint32_t)len;
    const struct packet_head head = { .lengths = { n, n, n, n } };
    return f->match(&f->program, &head, frame) != 0;
}

void vmctl_pcap_filter_free(struct vmctl_pcap_filter *f)
{
    if (!f)
        return;
    if (f->program.instructions)
        f->free_code(&f->program);
    if (f->library)
        dlclose(f->library);
    free(f);
}
