--- The guides of the reference's pages: by wish, by error code, by name; and LDoc's configuration.
local order = require "doc.order"
local topics = require "doc.topics"

local M = {}

local CODES = {
  ETIMEDOUT = "not in time", EOF = "the other side has ended", ECLOSED = "closed on this side", ECANCELED = "the task was cancelled",
  EBUSY = "another task is at it", EPROTO = "what came is not the protocol", ETOOBIG = "over a limit",
  ERESET = "the link to a guest was lost: how the call ended is unknown", EREMOTE = "the other side answered, with a failure",
  ENOTSUP = "not possible here", EINVAL = "a value that cannot be", ENOENT = "it does not exist",
  EEXIT = "a command failed, and check was on",
  ESHUTDOWN = "the guest is powering off", ERESOLVE = "a host name has no address", EDEADLK = "nothing is left that could end the wait",
  ECONNREFUSED = "nobody listens there", EPIPE = "the other side reads no more", ECONNRESET = "the other side broke the connection",
  EMFILE = "out of descriptors", EPERM = "not allowed", EACCES = "not allowed", ENAMETOOLONG = "a path too long for a socket",
  EEXIST = "it is there already", ENOSPC = "no room left", ENOTTY = "it is no terminal",
}

-- LDoc's plain format takes the pages' headings for its contents, and leaves their marks in the text.
local HEADINGS = [[
local function heading(marks, text)
  local level, anchor = #marks, text:gsub("%W", "_")
  return ("\n<h%d><a name=%q></a>%s</h%d>"):format(level, anchor, text, level)
end
-- The index is one folder higher than the pages that the links of summaries are made for.
postprocess_html = function(html, module)
  html = html:gsub("LDoc TESTING", "LDoc"):gsub("<i[^>]*>Last updated.-</i>", "") -- the same bytes each time
  local up = module and "../../" or "../"
  if not module then html = html:gsub('href="%.%./', 'href="') end
  local head = ('<meta name="viewport" content="width=device-width, initial-scale=1"><script src="%ssearch-index.js" defer></script>' ..
    '<script src="%ssearch.js" defer data-root="%s"></script></head>'):format(up, up, up)
  local bar = ('<body>\n<header><a class="home" href="%sindex.html">vmctl</a><a href="%sreference/index.html">Reference</a>' ..
    '<input id="search" type="search" placeholder="Search" aria-label="Search" autocomplete="off">' ..
    '<a class="menu" href="#navigation">Pages</a></header><div id="found" hidden></div>'):format(up, up)
  html = html:gsub("</head>", function() return head end, 1):gsub("<body>", function() return bar end, 1)
  return (html:gsub("\n[ \t]*<p>(##?) ([^\n]+)", heading):gsub("\n[ \t]*(##?) ([^\n]+)", heading))
end]]

-- Types that are classes of ours lead to them.
local LINKS = [[
custom_see_handler("^vmctl%%.%%u%%w*$", function(name)
  local classes = {
%s
  }
  return name, classes[name] or "#"
end)]]

local function first_sentence(text)
  local sentence = text:gsub("%s+", " "):match "^(.-[.!?])%f[%s\0]" or text:gsub("%s+", " ")
  return (sentence:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }):gsub("`([^`]+)`", "<code>%1</code>"))
end

-- Every public function: its full name, its entry, where it is.
local function entries(model, placed)
  local list = {}
  local function add(owner, mark, entry)
    if entry.ours then return end
    local name = owner .. (mark or (entry.method and ":" or ".")) .. entry.name
    list[#list + 1] = { name = name, entry = entry, href = order.href(model, placed, name) }
  end
  for name, part in pairs(model.parts) do for _, entry in ipairs(part.functions) do add(name, ".", entry) end end
  for name, class in pairs(model.reached) do for _, entry in ipairs(class.methods) do add(name, nil, entry) end end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function link(item) return ('<a href="%s">%s</a>'):format(item.href, item.name) end

local function rows(list)
  local out = { "<table class=\"function_list\">" }
  for _, item in ipairs(list) do
    local text = item.entry.block and first_sentence(item.entry.block.text) or ""
    out[#out + 1] = ("<tr><td class=\"name\">%s</td><td class=\"summary\">%s</td></tr>"):format(link(item), text)
  end
  out[#out + 1] = "</table>"
  return table.concat(out, "\n")
end

--- Where to begin for what one wants to do. A name of the list that nothing public has is an error: the page would mislead.
---@param model table
---@param placed table
---@return string markdown
function M.by_topic(model, placed)
  local known = {}
  for _, item in ipairs(entries(model, placed)) do known[item.name:gsub(":", ".")] = item end
  local out = { "# By topic\n" }
  for _, wish in ipairs(topics.wishes) do
    local list = {}
    for i = 2, #wish do
      list[#list + 1] = known[wish[i]:gsub(":", ".")] or error("doc.topics: nothing public is called " .. wish[i], 0)
    end
    out[#out + 1] = ("## %s\n\n%s\n"):format(wish[1], rows(list))
  end
  return table.concat(out, "\n")
end

local function codes_of(entry, into, item)
  local seen = {}
  for _, value in ipairs(entry.block and entry.block.returns or {}) do
    for code in value.text:gmatch "%f[%w]E[A-Z][A-Z]+%f[%W]" do
      if not seen[code] then
        seen[code] = true
        into[code] = into[code] or {}
        table.insert(into[code], item)
      end
    end
  end
end

--- Which calls say that they return which code.
---@param model table
---@param placed table
---@return string markdown
function M.codes(model, placed)
  local by_code, names = {}, {}
  for _, item in ipairs(entries(model, placed)) do codes_of(item.entry, by_code, item) end
  for code in pairs(by_code) do names[#names + 1] = code end
  table.sort(names)
  local out = { "# Error codes\n\nA call that fails returns nil, message, code. Any call that waits can give ETIMEDOUT, ECANCELED, " ..
    "ECLOSED and EDEADLK; here are the codes that docstrings name.\n" }
  for _, code in ipairs(names) do
    local links = {}
    for _, item in ipairs(by_code[code]) do links[#links + 1] = link(item) end
    out[#out + 1] = ("## %s\n\n<p>%s</p>\n\n<p>%s</p>\n"):format(code, CODES[code] and CODES[code] .. "." or "", table.concat(links, ", "))
  end
  return table.concat(out, "\n")
end

--- All names.
---@param model table
---@param placed table
---@return string markdown
function M.names(model, placed)
  return "# All names\n\n" .. rows(entries(model, placed)) .. "\n"
end

--- LDoc's configuration.
---@param model table
---@param placed table
---@param files string[]
---@return string
function M.config(model, placed, files)
  local out = {
    'project = "vmctl"', 'title = "vmctl reference"', 'description = "Run virtual machines from Lua: the reference"', 'format = "plain"',
    "not_luadoc = true", "sort = false", "sort_modules = false", "no_space_before_args = true", "wrap = true",
    'custom_css = "vmctl.css"', "use_markdown_titles = true", "prettify_files = false",
  }
  for _, kind in ipairs(placed.kinds) do
    out[#out + 1] = ("new_type(%q, %q, true)"):format(kind[1]:lower(), kind[1])
  end
  out[#out + 1] = HEADINGS
  local classes = {}
  for name in pairs(model.reached) do classes[#classes + 1] = ("    [%q] = %q,"):format(name, order.href(model, placed, name)) end
  table.sort(classes)
  out[#out + 1] = LINKS:format(table.concat(classes, "\n"))
  out[#out + 1] = 'topics = { "by-topic.md", "codes.md", "names.md" }'
  local quoted = {}
  for i, file in ipairs(files) do quoted[i] = ("%q"):format(file) end
  out[#out + 1] = ("file = { %s }"):format(table.concat(quoted, ", "))
  return table.concat(out, "\n") .. "\n"
end

return M
