--- Texts in XML and HTML: valid characters only, with special ones escaped.
local M = {}

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local REPLACEMENT = "\u{fffd}"

-- UTF-8, with U+FFFD in place of each byte that is none.
local function valid(text)
  local parts, at = {}, 1
  while at <= #text do
    local ok, bad = utf8.len(text, at)
    parts[#parts + 1] = text:sub(at, ok and #text or bad - 1)
    if ok then break end
    parts[#parts + 1] = REPLACEMENT
    at = bad + 1
  end
  return table.concat(parts)
end

--- A text for the content of an element or a quoted attribute. Control characters other than tab and line feed are shown as U+FFFD.
---@param text any
---@return string
function M.escape(text)
  text = valid(tostring(text)):gsub("\r\n", "\n"):gsub("[^\t\n\32-\126\128-\255]", REPLACEMENT)
  return (text:gsub('[&<>"]', ESCAPES))
end

--- A text for an attribute of XML, where a line feed would be read as a space.
---@param text any
---@return string
function M.escape_attribute(text)
  return (M.escape(text):gsub("[\t\n]", { ["\t"] = "&#9;", ["\n"] = "&#10;" }))
end

--- A relative path for a link.
---@param path string
---@return string
function M.escape_path(path)
  return (path:gsub("[^%w%-%._/]", function(c) return ("%%%02X"):format(c:byte()) end))
end

return M
