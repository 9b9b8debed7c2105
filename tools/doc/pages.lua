--- The programs in pages of Markdown, with the comments in front of their fences, which no reader sees.
---
--- `<!-- not run: REASON -->` leaves a program out. `<!-- file: NAME -->` writes it into the page's folder, where later ones find it,
--- and runs it no further. `<!-- goes on -->` puts it behind the one before. `<!-- fails -->`: its exit code is not 0.
--- `<!-- setup … -->` is a shell's text that is run first. A fence of `output` behind a program holds lines that it prints.
local M = {}

local LANGUAGES = { lua = true, sh = true, output = true }

---@class vmctl.doc.Program
---@field page string
---@field line integer of its fence
---@field language "lua"|"sh"
---@field text string
---@field reason? string why it is not run
---@field file? string
---@field fails? boolean
---@field setup? string
---@field output? string[] lines

-- A comment's word about the next fence, or nil.
local function mark(into, comment)
  local reason = comment:match "^not run: *(.-)$"
  if reason then into.reason = reason return true end
  local file = comment:match "^file: *(.-)$"
  if file then into.file = file return true end
  local setup = comment:match "^setup%s+(.-)$"
  if setup then into.setup = (into.setup or "") .. setup .. "\n" return true end
  if comment == "goes on" or comment == "fails" then into[comment] = true return true end
end

local function add(programs, program)
  local last = programs[#programs]
  if program.language == "output" then
    if not last then error(program.page .. ": output without a program") end
    last.output = last.output or {}
    for line in program.text:gmatch "[^\n]+" do table.insert(last.output, line) end
  elseif program["goes on"] then
    last.text = last.text .. program.text
  else
    programs[#programs + 1] = program
  end
end

--- The programs of a page.
---@param page string its name, for messages
---@param text string
---@return vmctl.doc.Program[]
function M.programs(page, text)
  local programs, marks, comment, fence, number = {}, {}, nil, nil, 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local indent, ticks, language = line:match "^( *)(```+)%s*(%S*)%s*$"
    if fence then
      if ticks and language == "" then
        if fence.language then add(programs, fence) end
        fence, marks = nil, {}
      else
        fence.text = fence.text .. line:gsub("^" .. fence.indent, "") .. "\n"
      end
    elseif ticks then
      fence = { page = page, line = number, language = LANGUAGES[language] and language, indent = indent, text = "" }
      for key, value in pairs(marks) do fence[key] = value end
    elseif comment or line:find "^%s*<!%-%-" then
      comment = (comment and comment .. "\n" or "") .. line
      if line:find "%-%->" then
        mark(marks, comment:match "^%s*<!%-%-%s*(.-)%s*%-%->")
        comment = nil
      end
    elseif line:find "%S" then
      marks = {}
    end
  end
  return programs
end

-- Numbers differ from run to run.
local function plain(line) return (line:gsub("%d[%d.]*", "0"):gsub("^%s+", ""):gsub("%s+$", "")) end

--- The first line that a program was to print, in this order, and did not. Numbers may differ; "…" stands for anything.
---@param wanted string[]
---@param printed string
---@return string|nil
function M.missing(wanted, printed)
  local lines = {}
  for line in (printed .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = plain(line) end
  local at = 1
  for _, want in ipairs(wanted) do
    local pattern = "^" .. plain(want):gsub("%p", "%%%0"):gsub("…", ".*") .. "$"
    while at <= #lines and not lines[at]:find(pattern) do at = at + 1 end
    if at > #lines then return want end
    at = at + 1
  end
end

return M
