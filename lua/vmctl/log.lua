--- One line an event on standard error, when VMCTL_LOG asks for it (error, info or debug; off by default).
-- Secrets are masked, and bytes of a guest cannot move the cursor, colour the terminal or forge a line. Call through
-- the module (`log.debug(...)`): a level that is off is an empty function there. No function here yields.

local errors = require "vmctl.errors"
local texts = require "vmctl.text"

local M = {}

local LEVELS = { off = 0, error = 1, info = 2, debug = 3 }
local NAMES = { "error", "info", "debug" }
local PROGRESS_WIDTH = 79               -- bytes: a longer line would wrap, and could not be wiped
local WIPE = "\r\27[K"

local level = 0
local secrets = {}                      -- text to the number of times that it was hidden
local secret_list = {}                  -- the same texts, as errors.mask takes them
local progress_shown = false

--- The function that writes lines; tests put another one here.
---@type fun(text: string)
function M.write(text)
  io.stderr:write(text)
end

--- Tells if lines go to a terminal. The core puts its own function here.
---@type fun(): boolean
function M.isatty()
  return false
end

--- The time in front of each line, in seconds, or nil for none. The core puts its clock here.
---@type (fun(): number)?
M.clock = nil

local LAST_WORDS = 400 -- bytes
local CUT = "[%d bytes cut]"

-- Characters that are text for UTF-8 and commands for a terminal or an editor: C1 controls, line and paragraph
-- separators, and characters that change the direction of writing.
local function is_unsafe(code)
  return code >= 0x80 and code <= 0x9f or code >= 0x200e and code <= 0x200f or code >= 0x2028 and code <= 0x202e
    or code >= 0x2066 and code <= 0x2069 or code == 0xfeff
end

local NAMED = { ["\r"] = "\\r", ["\n"] = "\\n", ["\t"] = "\\t" }

local function escape_byte(char)
  return NAMED[char] or ("\\x%02x"):format(char:byte())
end

--- A run of bytes from 128 on: whole characters stay, unless they are unsafe.
local function escape_high(run)
  local pieces, pos = {}, 1
  while pos <= #run do
    if utf8.len(run, pos, pos) then
      local code = utf8.codepoint(run, pos)
      local char = utf8.char(code)
      pieces[#pieces + 1] = is_unsafe(code) and ("\\u{%x}"):format(code) or char
      pos = pos + #char
    else
      pieces[#pieces + 1] = escape_byte(run:sub(pos, pos))
      pos = pos + 1
    end
  end
  return table.concat(pieces)
end

--- Removes the sequences that a terminal takes for commands: colours, cursor movement, titles, character sets.
local function strip_sequences(bytes)
  if not bytes:find("\27", 1, true) then
    return bytes
  end
  return (bytes:gsub("\27%[[0-?]*[ -/]*[@-~]", "")
    :gsub("\27[]P^_X][^\7\27]*\7", "")
    :gsub("\27[]P^_X][^\7\27]*\27\\", "")
    :gsub("\27[ -/]+[0-~]", "")
    :gsub("\27[=>78cDEHMNOZ]", ""))
end

local function escape(bytes, controls)
  bytes = strip_sequences(bytes)
  if bytes:find(controls) then
    bytes = bytes:gsub(controls, escape_byte)
  end
  if bytes:find "[\128-\255]" then
    bytes = bytes:gsub("[\128-\255]+", escape_high)
  end
  return bytes
end

--- Makes foreign bytes safe to show: terminal sequences are removed, other control bytes and invalid UTF-8 become visible
-- (\x07). Line feeds and tabs stay, and the pair CR LF counts as a line feed.
---@param bytes string
---@param limit? integer show only the last so many bytes of it, and say how many were cut
---@return string
function M.sanitize(bytes, limit)
  local cut = limit and #bytes - limit or 0
  if cut > 0 then
    while cut < #bytes and bytes:byte(cut + 1) & 0xc0 == 0x80 do
      cut = cut + 1                     -- not in the middle of a character
    end
    bytes = bytes:sub(cut + 1)
  end
  local text = escape(texts.unix_lines(bytes), "[\0-\8\11-\31\127]")
  return cut > 0 and CUT:format(cut) .. text or text
end

--- Foreign bytes as one line: as `sanitize`, with \n and \t for line feeds and tabs.
---@param bytes string
---@param limit? integer show only the first so many bytes of it, and say how many were cut
---@return string
function M.one_line(bytes, limit)
  local cut = limit and #bytes - limit or 0
  if cut > 0 then
    while limit > 0 and bytes:byte(limit + 1) & 0xc0 == 0x80 do
      limit = limit - 1
    end
    bytes, cut = bytes:sub(1, limit), #bytes - limit
  end
  local text = escape(bytes, "[\0-\31\127]")
  return cut > 0 and text .. CUT:format(cut) or text
end

--- The end of a program's output, for a message: as `sanitize`, without the white space at its end.
---@param bytes string
---@param limit? integer bytes (400)
---@return string
function M.last_words(bytes, limit)
  return M.sanitize(texts.trim_end(bytes:sub(-(limit or LAST_WORDS))))
end

--- Hides a secret: from now on lines show "***" in its place. Empty text is ignored.
---@param secret string
function M.hide(secret)
  if secret == "" then
    return
  end
  if not secrets[secret] then
    secret_list[#secret_list + 1] = secret
  end
  secrets[secret] = (secrets[secret] or 0) + 1
end

--- Undoes one `hide`; the secret shows again when each was undone.
---@param secret string
function M.unhide(secret)
  if not secrets[secret] then
    return
  end
  secrets[secret] = secrets[secret] > 1 and secrets[secret] - 1 or nil
  if not secrets[secret] then
    for i, text in ipairs(secret_list) do
      if text == secret then
        table.remove(secret_list, i)
        return
      end
    end
  end
end

--- A text with all hidden secrets masked.
---@param text string
---@return string
function M.mask(text)
  if #secret_list == 0 then
    return text
  end
  return errors.mask(text, secret_list)
end

local function compose(text, ...)
  if select("#", ...) == 0 then
    return text
  end
  local ok, composed = pcall(string.format, text, ...)
  return ok and composed or text .. " (" .. composed .. ")"   -- a wrong format must not fail what was to be logged
end

local function emit(name, text, ...)
  text = M.one_line(M.mask(compose(tostring(text), ...)))
  local stamp = M.clock and ("[%.6f] "):format(M.clock()) or ""
  local wipe = progress_shown and WIPE or ""
  progress_shown = false
  M.write(("%s%svmctl: %s: %s\n"):format(wipe, stamp, name, text))
end

local function nothing() end

--- Sets the level: "off", "error", "info" or "debug". Until then VMCTL_LOG's counts.
---@param name "off"|"error"|"info"|"debug"
function M.set_level(name)
  level = LEVELS[name] or error(("log.set_level: no level '%s'"):format(tostring(name)), 2)
  for number, each in ipairs(NAMES) do
    M[each] = number > level and nothing or function(text, ...) emit(each, text, ...) end
  end
end

--- Tells if lines of a level are shown: `if log.enabled "debug" then log.debug(expensive()) end`.
---@param name "error"|"info"|"debug"
---@return boolean
function M.enabled(name)
  return LEVELS[name] <= level
end

--- Shows progress in one line that the next one replaces; only on a terminal. nil wipes it.
---@param text? string
function M.progress(text)
  if not M.isatty() then
    return
  end
  if text then
    M.write(WIPE .. M.one_line(M.mask(text), PROGRESS_WIDTH):sub(1, PROGRESS_WIDTH))
  elseif progress_shown then
    M.write(WIPE)
  end
  progress_shown = text ~= nil
end

--- A failure that the user should see. Does nothing when the level is off, as the other two.
---@type fun(text: string, ...: any) the text is a format when arguments follow
M.error = nothing

--- An event of ordinary operation.
---@type fun(text: string, ...: any)
M.info = nothing

--- Each message of each protocol.
---@type fun(text: string, ...: any)
M.debug = nothing

local wanted = os.getenv "VMCTL_LOG" or ""
if wanted ~= "" then
  M.set_level(LEVELS[wanted] and wanted or "debug")           -- "1", "all" and other words mean everything
end

return M
