--- The pages of the site, in order. A page of docs/ that is not named here comes under "More".
local M = { pages = {}, by_source = {}, files = {} }

local GROUPS = {
  { "Begin", { "README.md", "vmctl", "index.html" }, { "docs/start.md", "Start" }, { "docs/scenarios.md", "Test scenarios" },
    { "docs/examples.md", "Examples" } },
  { "Guides", { "docs/guests.md", "Guests" }, { "docs/images.md", "Images" }, { "docs/instances.md", "Instances" },
    { "docs/networks.md", "Networks and faults" }, { "docs/configuration.md", "Control planes, configuration" },
    { "docs/forwarding.md", "Forwarding" }, { "docs/suites.md", "Suites" }, { "docs/remote.md", "Other machines" },
    { "docs/scale.md", "Scale" }, { "docs/embedding.md", "Embedding" }, { "docs/extending.md", "Agents and protocols" } },
  { "Reference", { "reference", "All functions", "reference/index.html" }, { "docs/modules.md", "Modules and addresses" },
    { "docs/command-line.md", "Command line" }, { "docs/errors.md", "Waiting and failing" }, { "docs/limits.md", "Limits" },
    { "docs/speed/README.md", "Speed", "speed/index.html" } },
  { "Behind it", { "SECURITY.md", "Security", "security.html" }, { "docs/architecture.md", "Architecture" },
    { "docs/debugging.md", "Debugging" }, { "CONTRIBUTING.md", "Contributing", "contributing.html" },
    { "docs/releasing.md", "Releasing" }, { "CHANGELOG.md", "Changes", "changes.html" } },
}

local WIRES = {
  ["cc-ipc"] = "cc-helper", exec = "exec (matchlock)", ["hybrid-vsock"] = "hybrid vsock", ["qemu-l2"] = "Ethernet (QEMU)",
  ["qmp-qga"] = "QMP, guest agent", socketforward = "socket forwarding", stereos = "StereOS", ttrpc = "ttrpc",
}

local function title_of(source)
  local file <close> = assert(io.open(source))
  for line in file:lines() do
    local title = line:match "^# (.+)$"
    if title then return (title:gsub("`", "")) end
  end
  return source
end

local function add(group, source, title, path)
  local page = { source = source, title = title, path = path or source:gsub("^docs/", ""):gsub("%.md$", ".html") }
  group[#group + 1] = page
  if source ~= "reference" then
    M.pages[#M.pages + 1], M.by_source[source] = page, page
  end
end

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

M.groups = {}
for _, given in ipairs(GROUPS) do
  local group = { given[1] }
  for i = 2, #given do
    local source, title, path = table.unpack(given[i])
    if source == "reference" or exists(source) then add(group, source, title, path) end
  end
  M.groups[#M.groups + 1] = group
end

local more, wires = { "More" }, { "On the wire" }
local pipe <close> = assert(io.popen "find docs stress/README.md LICENSE -type f | sort")
for source in pipe:lines() do
  if source:find "^docs/wire/.*%.md$" then
    add(wires, source, WIRES[source:match "([^/]+)%.md$"] or title_of(source))
  elseif source:find "%.md$" and not M.by_source[source] then
    add(more, source, title_of(source))
  elseif not source:find "%.md$" then
    M.files[source] = source:gsub("^docs/", "")
  end
end
if #more > 1 then M.groups[#M.groups + 1] = more end
M.groups[#M.groups + 1] = wires

return M
