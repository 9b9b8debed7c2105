/* Failures that errno has no name for. Functions return 0 or a negative number: -errno or one of these. */
#ifndef VMCTL_WIRE_ERROR_H
#define VMCTL_WIRE_ERROR_H

enum {
    VMCTL_EOF = -4096,      /* the peer has ended its side, nothing is left to read */
    VMCTL_ECLOSED = -4097,  /* closed on our side */
    VMCTL_ETOOBIG = -4098,  /* a length or a line is over its limit */
    VMCTL_ERESOLVE = -4099, /* a host name has no address */
    VMCTL_EREMOTE = -4100   /* the peer answered, with a failure */
};

/* The stable short name ("ECONNREFUSED", "EOF" ..., "EUNKNOWN") and the sentence for an error; never NULL. The name is
 * the same on every machine, the sentence is for people. */
const char *vmctl_error_name(int err);
const char *vmctl_error_text(int err);

#endif
