/* Unpacks messages after a look at their lengths: protobuf-c keeps them in a size_t, and with 32 bits takes 2^32 + 3 for 3. */
#include "pb/unpack.h"

#include "pb/convert.h"

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct reader {
    const uint8_t *at;
    size_t left;
};

static bool skip(struct reader *r, uint64_t n)
{
    if (n > r->left)
        return false;
    r->at += (size_t)n;
    r->left -= (size_t)n;
    return true;
}

static bool get_varint(struct reader *r, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; r->left && shift < 64; shift += 7) {
        uint8_t byte = *r->at;
        skip(r, 1);
        *v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool lengths_fit(const ProtobufCMessageDescriptor *type, struct reader r, int depth);

static bool bytes_fit(const ProtobufCMessageDescriptor *type, uint64_t number, struct reader *r, int depth)
{
    uint64_t size;
    if (!get_varint(r, &size) || size > r->left)
        return false;
    const ProtobufCFieldDescriptor *field =
        number <= UINT32_MAX ? protobuf_c_message_descriptor_get_field(type, (unsigned)number) : NULL;
    struct reader inner = { r->at, (size_t)size };
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE && !lengths_fit(field->descriptor, inner, depth + 1))
        return false;
    return skip(r, size);
}

/* Checks only the lengths. Other faults, such as messages that are nested too deep, are left to protobuf-c. */
static bool lengths_fit(const ProtobufCMessageDescriptor *type, struct reader r, int depth)
{
    uint64_t tag, value;
    while (depth <= VMCTL_PB_DEPTH && r.left) {
        if (!get_varint(&r, &tag))
            return false;
        bool fits = true;
        switch (tag & 7) {
        case WIRE_VARINT:
            fits = get_varint(&r, &value);
            break;
        case WIRE_64:
            fits = skip(&r, 8);
            break;
        case WIRE_32:
            fits = skip(&r, 4);
            break;
        case WIRE_BYTES:
            fits = bytes_fit(type, tag >> 3, &r, depth);
            break;
        default:
            return true;
        }
        if (!fits)
            return false;
    }
    return true;
}

ProtobufCMessage *vmctl_pb_unpack(const ProtobufCMessageDescriptor *type, ProtobufCAllocator *memory, size_t len,
                                  const uint8_t *bytes)
{
    if (sizeof(size_t) < sizeof(uint64_t) && !lengths_fit(type, (struct reader){ bytes, len }, 1))
        return NULL;
    return protobuf_c_message_unpack(type, memory, len, bytes);
}
