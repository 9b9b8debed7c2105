-- lua5.4 tools/man.lua FOLDER: writes the manual pages vmctl.1 and vmctl-agent.1, made of the programs' own help. The modules must be
-- built and found (make env).
local VERSION = require "vmctl.base.version"

local function escape(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("…", "..."):gsub("→", "->")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

-- Prose as it is, lines that are indented as they stand.
local function text_of(text)
  local out, example = {}, false
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local indented = line:find "^ " ~= nil
    if indented ~= example then
      out[#out + 1] = indented and ".PP\n.nf" or ".fi\n.PP"
      example = indented
    end
    out[#out + 1] = line == "" and ".PP" or escape(line)
  end
  if example then out[#out + 1] = ".fi" end
  return (table.concat(out, "\n"):gsub("%.PP\n%.PP\n", ".PP\n"):gsub("\n%.PP$", ""))
end

local function header(name, what)
  return ('.TH %s 1 "" "vmctl %s" "vmctl"\n.SH NAME\n%s \\- %s\n'):format(name:upper():gsub("-", "\\-"), VERSION, name:gsub("-", "\\-"),
    escape(what))
end

-- How an option or an argument is written, as the parser's help has it: "-k FILE, --kernel FILE".
local function label(element)
  return escape(table.concat(element:_get_label_lines(), " "))
end

local function elements(list)
  local out = {}
  for _, element in ipairs(list) do
    if not element._hidden then
      out[#out + 1] = (".TP\n.B %s\n%s"):format(label(element), escape(element:_get_description() or ""))
    end
  end
  return table.concat(out, "\n")
end

-- One line: the page wraps it itself.
local function synopsis(parser)
  return escape(parser:get_usage():gsub("^Usage: ", ""):gsub("%s+", " "))
end

local function subcommand(name, parser)
  local text = text_of(parser._description or parser._summary or "")
  local out = { (".SS vmctl %s"):format(escape(name)), ".B " .. synopsis(parser), ".PP", text }
  for _, list in ipairs { parser._arguments, parser._options } do
    if #list > 0 then out[#out + 1] = elements(list) end
  end
  return table.concat(out, "\n")
end

local function vmctl_page()
  local parser, commands = require("vmctl.cli").parser()
  assert(parser, commands)
  local out = {
    header("vmctl", "runs virtual machines, and commands, files and sockets in them"),
    ".SH SYNOPSIS\n.B vmctl\n.I COMMAND\n[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n.SH DESCRIPTION\n" .. text_of(parser._description),
    ".SH OPTIONS\n" .. elements(parser._options), ".SH COMMANDS",
  }
  for _, name in ipairs(require("vmctl.cli").COMMANDS) do out[#out + 1] = subcommand(name, commands[name].parser) end
  out[#out + 1] = ".SH EXIT STATUS AND ENVIRONMENT\n" .. text_of(parser._epilog)
  out[#out + 1] = ".SH SEE ALSO\n.BR vmctl\\-agent (1)"
  return table.concat(out, "\n") .. "\n"
end

-- The agent's own help: paragraphs, and a list whose items stand at two blanks, their text at twenty-two.
local function agent_page()
  local usage, out = require("vmctl.agent.options").USAGE, {}
  local head, list, tail = usage:match "^(.-)\n\n(  .-)\n\n(.*)$"
  out[#out + 1] = header("vmctl-agent", "serves commands, files and sockets of a guest to its host")
  out[#out + 1] = ".SH SYNOPSIS\n.nf\n" .. escape(head) .. "\n.fi\n.SH OPTIONS"
  for line in (list .. "\n"):gmatch "([^\n]*)\n" do
    local option, text = line:match "^  (%-%-%S.-)%s%s+(%S.*)$"
    option = option or line:match "^  (%-%-%S.*)$"
    if option then
      out[#out + 1] = (".TP\n.B %s\n%s"):format(escape(option), escape(text or ""))
    else
      out[#out + 1] = escape(line:gsub("^%s+", ""))
    end
  end
  out[#out + 1] = ".SH DEFAULTS\n" .. text_of((tail:gsub("\n$", "")))
  out[#out + 1] = ".SH SEE ALSO\n.BR vmctl (1)"
  return table.concat(out, "\n"):gsub("\n\n+", "\n") .. "\n"
end

local folder = assert(arg[1], "man: a folder expected")
for name, page in pairs { ["vmctl.1"] = vmctl_page(), ["vmctl-agent.1"] = agent_page() } do
  local file <close> = assert(io.open(folder .. "/" .. name, "w"))
  assert(file:write(page))
end
