/* The first bytes of a connection, whole and cut: the verdict must not depend on how they come, and a name
 * must be one. */
#include <stdlib.h>

#include "core/base.h"
#include "tls/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char room[CLIENT_HELLO_NAME_MAX], part_room[CLIENT_HELLO_NAME_MAX];
    struct slice name, part_name;
    enum client_hello whole = client_hello_parse(slice_of((const char *)bytes, len), room, &name);
    ASSERT((whole == CLIENT_HELLO_NAMED) == (name.len != 0));
    ASSERT(len < CLIENT_HELLO_MAX || whole != CLIENT_HELLO_MORE);
    for (size_t i = 0; i < name.len; i++)
        ASSERT(name.at[i] > ' ' && name.at[i] < 0x7f && ascii_lower(name.at[i]) == name.at[i]);
    bool decided = false;
    size_t step = len > 1024 ? len / 256 : 1;
    for (size_t cut = 0; cut < len; cut += step) {
        char *copy = malloc(cut ? cut : 1);
        ASSERT(copy);
        memcpy(copy, bytes, cut);
        enum client_hello part = client_hello_parse(slice_of(copy, cut), part_room, &part_name);
        free(copy);
        ASSERT(part == whole || part == CLIENT_HELLO_MORE);
        ASSERT(!decided || part == whole);
        decided = part != CLIENT_HELLO_MORE;
        ASSERT(part != CLIENT_HELLO_NAMED || slice_equal(part_name, name));
    }
    return 0;
}
