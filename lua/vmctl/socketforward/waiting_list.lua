--- Lists of connections that wait, one for each forward. A connection that was given up stays in the list until it is the first.
local M = {}

--- An empty list. Does not wait.
---@param forward table
function M.new(forward)
  return { first = 1, last = 0, forward = forward }
end

--- Tells if it is empty, also of connections that were given up. Does not wait.
---@return boolean
function M.is_empty(list)
  return list.first > list.last
end

--- Adds a connection at the end, or at the front. Does not wait.
---@param list table
---@param connection table
---@param front? boolean
function M.push(list, connection, front)
  if front then
    list.first = list.first - 1
    list[list.first] = connection
  else
    list.last = list.last + 1
    list[list.last] = connection
  end
end

--- The first connection that still waits. Does not wait.
---@return table|nil
function M.head(list)
  while not M.is_empty(list) do
    local connection = list[list.first]
    if connection.state == "waiting" then return connection end
    M.pop(list)
  end
end

--- Removes the first connection. Does not wait.
function M.pop(list)
  list[list.first] = nil
  list.first = list.first + 1
end

return M
