--- Decides which peers may connect to our servers. By default: on a Unix socket our own user and root, on TCP loopback, on
--- vsock only the host's CID (a process of the guest connects from the loopback CID).
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local HOST_CID = 2

local function check_vsock(peer, rules)
  for _, cid in ipairs(rules.cid or { HOST_CID }) do
    if cid == peer.cid or cid == "any" then return true end
  end
  return nil, ("%s is not a CID that may connect"):format(peer)
end

local function check_tcp(peer, rules)
  if rules.tcp == "any" or peer.host:match "^127%." or peer.host == "::1" or peer.host:match "^::ffff:127%." then return true end
  return nil, ("%s is not this machine"):format(peer)
end

local function check_unix(conn, rules)
  local who, err = conn:credentials()
  if not who then return nil, err end
  local own = core.fs.identity()
  if who.uid == own or who.uid == 0 or rules.uid == "any" then return true end
  for _, uid in ipairs(type(rules.uid) == "table" and rules.uid or {}) do
    if uid == who.uid or uid == "any" then return true end
  end
  return nil, ("user %d may not connect"):format(who.uid)
end

local known = { cid = "table", tcp = { "any" }, uid = "table|string" }

-- Refuses unknown rules: a misspelt one would be ignored.
local function check_rules(rules)
  options.check(rules, known, "allow", 4)
  for _, name in ipairs { "cid", "uid" } do
    local list = rules[name]
    for _, entry in ipairs(type(list) == "table" and list or { list }) do
      if math.type(entry) ~= "integer" and entry ~= "any" then
        error(("allow: option '%s': numbers or 'any' expected"):format(name), 4)
      end
    end
  end
end

--- A policy: a function of a connection that gives true, or nil and the reason.
---@param rules? function|{ cid: (integer|"any")[], tcp: "any", uid: integer[]|"any" } a function is the policy itself
---@return fun(conn: vmctl.Stream): true|nil, string?
function M.policy(rules)
  if type(rules) == "function" then return rules end
  rules = rules or {}
  check_rules(rules)
  return function(conn)
    local peer, err = conn:peer()
    if not peer then return nil, err end
    if peer.kind == "unix" then return check_unix(conn, rules) end
    if peer.kind == "vsock" then return check_vsock(peer, rules) end
    if peer.kind == "tcp" then return check_tcp(peer, rules) end
    return nil, ("%s is of no kind that may connect"):format(peer)
  end
end

return M
