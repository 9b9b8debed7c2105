--- The model as input for LDoc: one file a part, with a function head for each function and LDoc's tags for its docstring.
local order = require "doc.order"
local types = require "doc.types"

local M = {}

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ["@"] = "&#64;", ["$"] = "&#36;", ["#"] = "&#35;" }

-- LDoc drops a function whose first sentence has "--" in it.
local function escape(text) return (text:gsub("[&<>@$#]", ESCAPES):gsub("%-%-", "-&#45;")) end

-- Names of public things become links, what is in backticks becomes code.
local function inline(page, text)
  text = text:gsub("`([^`\n]+)`", function(code) return "\1" .. code .. "\2" end)
  text = escape(text):gsub("%f[%w]vmctl%.[%w_.]*[%w_]:?[%w_]*", function(name)
    local tail = name:match ":$" or ""
    local href = page.href(name:gsub(":$", ""))
    local shown = name:gsub(":$", "")
    return href and ('<a href="%s">%s</a>%s'):format(href, shown, tail) or nil
  end)
  return (text:gsub("\1", "<code>"):gsub("\2", "</code>"))
end

-- Paragraphs, and examples: lines that are indented by four.
local function prose(page, text)
  local out, code = {}, nil
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local example = line:match "^    (.*)$"
    if example or code and line == "" then
      code = code or {}
      code[#code + 1] = escape(example or "")
    else
      if code then
        out[#out + 1] = "<pre>" .. table.concat(code, "\n"):gsub("%s+$", "") .. "</pre>"
        code = nil
      end
      out[#out + 1] = line == "" and #out > 0 and "<p></p>" or inline(page, line)
    end
  end
  if code then out[#out + 1] = "<pre>" .. table.concat(code, "\n"):gsub("%s+$", "") .. "</pre>" end
  return table.concat(out, "\n")
end

local function comment(lines)
  return "--- " .. table.concat(lines, "\n"):gsub("\n", "\n-- ") .. "\n"
end

-- LDoc takes a type up to the first blank, and a question mark in it for something of its own.
local function compact(kind)
  kind = escape((kind:gsub("%s+", ""):gsub("%?$", ""))):gsub("%?", "&#63;")
  return kind == "" and "any" or kind
end

local function param_lines(page, entry, lines)
  local known = {}
  for _, param in ipairs(entry.block and entry.block.params or {}) do known[param.name] = param end
  for _, name in ipairs(entry.params) do
    local param = known[name] or { name = name, type = "any", text = "" }
    local fields, kind = types.options(param.type)
    local text = fields and types.share(fields, param.text) or param.text
    lines[#lines + 1] = ("@tparam%s %s %s %s"):format(param.optional and "[opt]" or "", compact(kind), name, inline(page, text))
    for _, field in ipairs(fields or {}) do
      lines[#lines + 1] = ("@tparam%s %s %s.%s %s"):format(field.optional and "[opt]" or "", compact(field.type), name, field.name,
        inline(page, field.text or ""))
    end
  end
end

-- A type that allows nil, then message and code: how a call that can fail is written down.
local function may_fail(returns)
  return #returns >= 3 and returns[1].type:find "|nil" and returns[2].type == "string?" and returns[3].type == "string?"
end

local function return_lines(page, entry, lines)
  local returns = entry.block and entry.block.returns or {}
  if not may_fail(returns) then
    for _, value in ipairs(returns) do
      lines[#lines + 1] = ("@treturn %s %s"):format(compact(value.type), inline(page, value.text))
    end
    return
  end
  lines[#lines + 1] = ("@treturn[1] %s %s"):format(compact(returns[1].type:gsub("|nil", "")), inline(page, returns[1].text))
  lines[#lines + 1] = "@treturn[2] nil"
  for i = 2, #returns do
    local name = i == 2 and "message" or i == 3 and "code" or ""
    local text = returns[i].text:gsub("^" .. name .. "%f[%A]%s*", "")
    lines[#lines + 1] = ("@treturn[2] %s %s"):format(compact(returns[i].type:gsub("%?$", "")),
      name .. (name ~= "" and text ~= "" and ": " or "") .. inline(page, text))
  end
end

local function add_function(page, out, owner, entry)
  if entry.ours then return end
  local text = entry.block and entry.block.text or ""
  local lines = { prose(page, text == "" and "Not described yet." or text) }
  param_lines(page, entry, lines)
  return_lines(page, entry, lines)
  local head = owner and owner .. (entry.method and ":" or ".") .. entry.name or "M." .. entry.name
  if not owner then lines[#lines + 1] = "@function " .. entry.name end
  out[#out + 1] = comment(lines) .. ("function %s(%s) end\n"):format(head, table.concat(entry.params, ", "))
end

local function add_fields(page, out, part)
  if #part.fields == 0 then return end
  local lines = { "Constants and tables.", "@table Fields" }
  for _, field in ipairs(part.fields) do
    local shown = field.value ~= nil and ("<code>%s</code> "):format(escape(tostring(field.value))) or ""
    local keys = field.keys and " " .. escape(table.concat(field.keys, ", ")) or ""
    lines[#lines + 1] = ("@tfield %s %s %s%s%s"):format(field.type, field.name, shown, inline(page, field.text:gsub("\n", " ")), keys)
  end
  out[#out + 1] = comment(lines)
end

local function add_class(page, out, class)
  local short = class.name:match "[^.]+$"
  out[#out + 1] = comment { prose(page, class.text == "" and " " or class.text), "@type " .. short }
  if #class.fields > 0 then
    local lines = { "What it has.", "@table " .. short .. ".fields" }
    for _, field in ipairs(class.fields) do
      lines[#lines + 1] = ("@tfield%s %s %s %s"):format(field.optional and "[opt]" or "", compact(field.type), field.name,
        inline(page, field.text))
    end
    out[#out + 1] = comment(lines)
  end
  for _, entry in ipairs(class.methods) do add_function(page, out, short, entry) end
end

--- The text of one part's page.
---@param model table
---@param placed table of doc.order
---@param name string
---@return string
function M.page(model, placed, name)
  local part = model.parts[name]
  local page = { href = function(to) return order.href(model, placed, to) end }
  local out = { comment { prose(page, part.text == "" and name or part.text), ("@%s %s"):format(placed.kind_of[name], name) } }
  out[#out + 1] = "local M = {}\n"
  for _, entry in ipairs(part.functions) do add_function(page, out, nil, entry) end
  add_fields(page, out, part)
  for _, class in ipairs(placed.classes[name]) do add_class(page, out, class) end
  out[#out + 1] = "return M"
  return table.concat(out, "\n") .. "\n"
end

return M
