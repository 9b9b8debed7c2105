/* vmctl-agent --pack: writes files of the guest to standard output as a tar archive, for copies to the host (docs/wire/exec.md). */
#ifndef VMCTL_AGENT_PACK_H
#define VMCTL_AGENT_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum { PACK_BLOCK = 512, PACK_OUT = 128 * 1024, PACK_SEND = 64 * 1024 };

/* Output of the archive: bytes are collected here, so that many small files leave in one write. */
struct vmctl_pack_out {
    uint8_t bytes[PACK_OUT];
    size_t len;
};

/* The fields of a header. */
struct vmctl_pack_entry {
    const char *path, *link; /* link: NULL if it is none */
    char type;               /* of POSIX; 's': a socket, which no reader makes */
    const struct stat *st;
    uint64_t size;           /* of the content that follows */
};

/* Text that grows: the records of an extended header, a map. `failed`: there was no memory, and some of it is missing. */
struct vmctl_pack_text {
    char *bytes;
    size_t len, cap;
    bool failed;
};

/* The arguments behind --pack: PATH FOLDER NAME [xattrs]. Prints the type of PATH, in a line as vmctl.files.exec_scripts has it, and if
 * that is a file, a folder or a link, packs NAME in FOLDER, which are the same. The exit status: 0; 1: files have changed or vanished
 * meanwhile; 2: files could not be read. The messages on standard error are GNU tar's. */
int vmctl_pack(int argc, char **argv);

/* pack_out.c. Each write ends the program when nobody reads any more. */
void vmctl_pack_write(struct vmctl_pack_out *out, const void *bytes, size_t len);
void vmctl_pack_zeros(struct vmctl_pack_out *out, uint64_t len);
void vmctl_pack_pad(struct vmctl_pack_out *out, uint64_t size); /* to the end of the block in which `size` bytes end */
void vmctl_pack_flush(struct vmctl_pack_out *out);
void vmctl_pack_header(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e);
/* A header about the next entry: 'x'. */
void vmctl_pack_special(struct vmctl_pack_out *out, char type, const char *name, const void *body, size_t len);

void vmctl_pack_add(struct vmctl_pack_text *t, const void *bytes, size_t len);
/* A record of an extended header: "LENGTH key=value\n", where the length counts itself. */
void vmctl_pack_record(struct vmctl_pack_text *t, const char *key, const void *value, size_t len);

/* pack_file.c. The content of an open file, and its header. 0, or the status that the program ends with. */
int vmctl_pack_file(struct vmctl_pack_out *out, const struct vmctl_pack_entry *e, int fd, bool xattrs);
/* Extended headers of the users' attributes of an open folder. */
int vmctl_pack_xattrs(struct vmctl_pack_text *t, const char *path, int fd);
/* "tar: PATH: TEXT" on standard error, and with `err` the system's words for that. */
void vmctl_pack_say(const char *path, const char *text, int err);

#endif
