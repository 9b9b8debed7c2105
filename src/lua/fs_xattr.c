/* Extended attributes of files of a core.fs.root: methods of vmctl.Root. These calls block as all file I/O does. */
#include "io/fs_xattr.h"
#include "lua/fail.h"
#include "lua/fs.h"
#include "lua/text.h"

#include <errno.h>
#include <lauxlib.h>

static int xattr_fail(lua_State *L, int err, const char *what, const char *path)
{
    return vmctl_fail(L, err == -EBADF ? VMCTL_ECLOSED : err, "%s %s", what, path);
}

/* root:xattrs(path) -> values by their names; a last link is not followed. ETOOBIG: more than vmctl_xattrs can hold. */
int vmctl_l_root_xattrs(lua_State *L)
{
    const struct vmctl_root *r = luaL_checkudata(L, 1, VMCTL_ROOT);
    const char *path = vmctl_check_text(L, 2);
    if (!path)
        return vmctl_text_fail(L, "read the extended attributes of");
    struct vmctl_xattrs list = { 0 };
    int err = vmctl_root_xattrs(r, path, &list);
    if (err)
        return xattr_fail(L, err, "read the extended attributes of", path);
    struct vmctl_xattr one;
    lua_newtable(L);
    for (size_t at = 0; vmctl_xattrs_next(&list, &at, &one);) { /* pushing raises only for lack of memory */
        lua_pushlstring(L, one.name, one.name_len);
        lua_pushlstring(L, (const char *)one.value, one.value_len);
        lua_rawset(L, -3);
    }
    vmctl_xattrs_free(&list);
    return 1;
}

/* root:set_xattr(path, name, value) -> true; a last link is not followed */
int vmctl_l_root_set_xattr(lua_State *L)
{
    const struct vmctl_root *r = luaL_checkudata(L, 1, VMCTL_ROOT);
    const char *path = vmctl_check_text(L, 2), *name = vmctl_check_text(L, 3);
    if (!path || !name)
        return vmctl_text_fail(L, "set an extended attribute of");
    size_t len;
    const char *value = luaL_checklstring(L, 4, &len);
    int err = vmctl_root_set_xattr(r, path, name, value, len);
    if (err)
        return xattr_fail(L, err, "set an extended attribute of", path);
    lua_pushboolean(L, 1);
    return 1;
}
