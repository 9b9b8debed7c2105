/* Bytes to a message of protobuf-c, where size_t has 32 bits as well. */
#ifndef VMCTL_PB_UNPACK_H
#define VMCTL_PB_UNPACK_H

#include <protobuf-c/protobuf-c.h>

/* As protobuf_c_message_unpack. NULL: they are no such message, or the allocator gave no memory. */
ProtobufCMessage *vmctl_pb_unpack(const ProtobufCMessageDescriptor *type, ProtobufCAllocator *memory, size_t len,
                                  const uint8_t *bytes);

#endif
