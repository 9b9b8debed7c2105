/* Sends the queue of a port, its senders in turn. */
#include "io/switch.h"

#include <errno.h>

enum {
    QUEUE_QUANTUM = 16 * 1024,  /* bytes of one turn */
    QUEUE_PIECES = 32           /* turns of one write */
};

/* The number of bytes of whole frames that its turn allows; the rest of a partly sent frame goes in any case. */
static size_t share_turn(struct vmctl_switch_share *s)
{
    const uint8_t *head = vmctl_buf_head(&s->q);
    size_t len = vmctl_buf_len(&s->q), take = s->half;
    if (!s->granted)
        s->deficit += QUEUE_QUANTUM;
    s->granted = true;
    while (take < len) {
        size_t next = take + VMCTL_ETHER_HEAD + vmctl_ether_length(head + take);
        if ((ssize_t)next > s->deficit)
            break;
        take = next;
    }
    return take;
}

/* Collects the next turns as pieces of a write. A share whose turn is too small for its first frame keeps the turn's bytes. */
static int gather(struct vmctl_switch_port *to, struct iovec *iov, struct vmctl_switch_share **owner)
{
    int n = 0;
    struct vmctl_list *node = to->turns.next;
    if (to->senders == 1) {
        owner[0] = VMCTL_CONTAINER(node, struct vmctl_switch_share, turn);
        iov[0] = (struct iovec){ vmctl_buf_head(&owner[0]->q), vmctl_buf_len(&owner[0]->q) };
        return 1;
    }
    while (!n) {
        for (unsigned left = to->senders; left && n < QUEUE_PIECES; left--) {
            struct vmctl_switch_share *s = VMCTL_CONTAINER(node, struct vmctl_switch_share, turn);
            node = node->next;
            size_t take = share_turn(s);
            if (take) {
                owner[n] = s;
                iov[n++] = (struct iovec){ vmctl_buf_head(&s->q), take };
            } else {
                s->granted = false;
                vmctl_list_remove(&s->turn);
                vmctl_list_append(&to->turns, &s->turn);
            }
        }
        node = to->turns.next;
    }
    return n;
}

/* Removes sent bytes of a share. */
static void share_sent(struct vmctl_switch_share *s, size_t sent)
{
    const uint8_t *head = vmctl_buf_head(&s->q);
    size_t edge = sent == vmctl_buf_len(&s->q) ? sent : s->half;
    while (edge < sent)
        edge += VMCTL_ETHER_HEAD + vmctl_ether_length(head + edge);
    s->half = edge - sent;
    vmctl_buf_consume(&s->q, sent);
    vmctl_switch_queue_take(s, sent);
    s->deficit = s->to->senders > 1 ? s->deficit - (ssize_t)sent : 0;
    s->to->sent += sent;
}

/* Ends its turn: it waits for the next one behind the others. */
static void turn_over(struct vmctl_switch_share *s)
{
    s->granted = false;
    if (!vmctl_buf_len(&s->q)) {
        vmctl_switch_share_leave(s);
        return;
    }
    vmctl_list_remove(&s->turn);
    vmctl_list_append(&s->to->turns, &s->turn);
}

int vmctl_switch_drain(struct vmctl_switch_port *to)
{
    struct iovec iov[QUEUE_PIECES];
    struct vmctl_switch_share *owner[QUEUE_PIECES];
    int n = to->senders ? gather(to, iov, owner) : 0;
    ssize_t put = n ? vmctl_switch_write(to, iov, n) : 0;
    if (put == -EAGAIN || put == -ENOBUFS || put == -ENOMEM)
        return 0;
    if (put < 0)
        return (int)put;
    size_t left = (size_t)put;
    for (int i = 0; i < n && left; i++) {
        size_t sent = left < iov[i].iov_len ? left : iov[i].iov_len;
        share_sent(owner[i], sent);
        left -= sent;
        if (sent == iov[i].iov_len)
            turn_over(owner[i]);
        if (owner[i]->holds && vmctl_buf_len(&owner[i]->q) <= owner[i]->low)
            vmctl_switch_release(owner[i]);
    }
    vmctl_switch_progress(to);
    if (!to->senders)
        vmctl_io_stop(to->sw->loop, &to->wio);
    return 0;
}
