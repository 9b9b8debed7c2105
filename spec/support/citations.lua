--- Finds citations of the repository's documents that lead nowhere: `docs/….md#section` in any file, and links of Markdown.
--- In a file that names its document once, a bracketed `#section` stands for a section of the document named last.
local M = {}

-- Vectors are bytes, and the spec of this module cites what does not exist.
local function exempt(path) return path:find "^spec/vectors/" or path == "spec/citations_spec.lua" end

--- The anchors of a Markdown text, made of its headings as code hosts make them.
---@param text string
---@return table<string, true>
function M.anchors(text)
  local anchors, count, in_code = {}, {}, false
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if line:find "^```" then in_code = not in_code end
    local heading = not in_code and line:match "^#+ +(.+)$"
    if heading then
      local anchor = heading:lower():gsub("[^%w_ \128-\255-]", ""):gsub(" ", "-")
      local seen = count[anchor]
      count[anchor] = (seen or 0) + 1
      anchors[seen and anchor .. "-" .. seen or anchor] = true
    end
  end
  return anchors
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function tracked(folder)
  local files = {}
  local pipe <close> = assert(io.popen(("git -C '%s' ls-files"):format(folder)))
  for path in pipe:lines() do files[#files + 1] = path end
  assert(#files > 0, "git names no files")
  return files
end

-- "docs/wire/../x.md" without the detour.
local function plain(path)
  local count
  repeat path, count = path:gsub("[^/]+/%.%./", "", 1) until count == 0
  return (path:gsub("^%./", ""))
end

-- The documents of a folder, read once each: is there such a path, and has it such an anchor?
local function resolver(folder)
  local anchors = {}
  return function(path, anchor)
    if anchors[path] == nil then
      local text = read(folder .. "/" .. path)
      anchors[path] = text and M.anchors(text) or false
    end
    if not anchors[path] then return "there is no such file" end
    if anchor ~= "" and path:find "%.md$" and not anchors[path][anchor] then return "there is no such section" end
  end
end

-- Calls found(path, anchor, citation) for each citation in a line; gives the document named last.
local function citations_in(line, path, last, found)
  if line:lower():find("wire " .. "document", 1, true) then found("", "", "wire " .. "document") end
  for document, anchor in line:gmatch "(docs/[%w_/-]+%.md)#?([%w_-]*)" do
    last = document
    found(document, anchor, document .. (anchor ~= "" and "#" .. anchor or ""))
  end
  for anchor in line:gmatch "[%s(]%[#([a-z][%w_-]*)%]" do
    if last then found(last, anchor, "#" .. anchor) end
  end
  if path:find "%.md$" then
    for target, anchor in line:gmatch "%]%(([^)#%s]*)#?([^)%s]*)%)" do
      local other = not target:find "^%a+:"
      local to = target == "" and path or plain((path:match "^.*/" or "") .. target)
      if other then found(to, anchor, target .. (anchor ~= "" and "#" .. anchor or "")) end
    end
  end
  return last
end

--- The citations that lead nowhere, each as "file:line: citation: reason".
---@param folder? string the repository; "." by default
---@param files? string[] paths below it; all that git tracks by default
---@return string[]
function M.unresolved(folder, files)
  folder = folder or "."
  local resolve, list = resolver(folder), {}
  for _, path in ipairs(files or tracked(folder)) do
    local text = not exempt(path) and read(folder .. "/" .. path) or ""
    local number, last = 0, nil
    if text:find("\0", 1, true) then text = "" end
    for line in (text .. "\n"):gmatch "(.-)\n" do
      number = number + 1
      last = citations_in(line, path, last, function(to, anchor, citation)
        local reason = resolve(to, anchor)
        if reason then list[#list + 1] = ("%s:%d: %s: %s"):format(path, number, citation, reason) end
      end)
    end
  end
  return list
end

-- Folders of the repository whose files documents name in backticks.
local FOLDERS = { bench = true, bin = true, docs = true, examples = true, fuzz = true, interop = true, lua = true, spec = true,
  src = true, stress = true, tools = true }

-- A name stands for one file: no pattern, no list.
local function is_file_name(text)
  local folder = text:match "^([%w_]+)/[%w_./-]+$"
  return folder and FOLDERS[folder] and text:find "%.%l+$" ~= nil
end

--- The names of files in a document that are in backticks and lead nowhere, as lines "DOCUMENT: NAME".
---@param folder string
---@param documents string[]
---@return string[]
function M.absent_files(folder, documents)
  local found = {}
  for _, document in ipairs(documents) do
    for name in (read(folder .. "/" .. document) or ""):gmatch "`([^`\n]+)`" do
      if is_file_name(name) and not read(folder .. "/" .. name) then found[#found + 1] = ("%s: %s"):format(document, name) end
    end
  end
  return found
end

return M
