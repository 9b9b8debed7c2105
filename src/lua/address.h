/* Addresses, between the tables and objects of Lua and those of sockets. */
#ifndef VMCTL_LUA_ADDRESS_H
#define VMCTL_LUA_ADDRESS_H

#include "io/addr.h"

#include <lua.h>

/* core.set_address(function): the Lua floor has a class for addresses; the function makes one of a text. */
int vmctl_l_set_address(lua_State *L);

/* Pushes an address: made by the function that core.set_address was given, else its text. Returns 1. */
int vmctl_push_address(lua_State *L, const struct vmctl_addr *a);

/* Reads the table at `arg`: { kind = "tcp", host = numeric, port = }, "unix" with path, "vsock" with cid and port. Raises for
 * one of another shape. 0, or the error of an address that no socket can have. */
int vmctl_address_check(lua_State *L, int arg, struct vmctl_addr *a);

/* Fails with that error, and names the address in the table at `arg`. */
int vmctl_address_fail(lua_State *L, int arg, int err, const char *what);

#endif
