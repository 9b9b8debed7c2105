local errors = require "vmctl.errors"
local log = require "vmctl.log"

describe("log.sanitize", function()
  it("leaves text with line feeds and tabs as it is", function()
    for _, text in ipairs { "", "plain", "two\nlines\twith tab", "é € 😀", "100% [ok] \\x" } do
      assert.equal(text, log.sanitize(text))
    end
  end)

  it("removes terminal sequences", function()
    assert.equal("[  OK  ] started", log.sanitize "[  \27[0;1;32mOK\27[0m  ] \27]0;title\7\27[2J\27(Bstarted\27[K")
    assert.equal("ab", log.sanitize "a\27[?25lb")
    assert.equal("ab", log.sanitize "a\27]8;;http://evil\27\\b")
    assert.equal("ab", log.sanitize "a\27Pdata\27\\b")
    assert.equal("ab", log.sanitize "a\27cb")
  end)

  it("makes the rest of the control bytes visible", function()
    assert.equal("\\x00\\x07\\x08\\x7f\\r", log.sanitize "\0\7\8\127\r")
    assert.equal("\\x1b[31", log.sanitize "\27[31")
    assert.equal("\\x1b[0m", log.sanitize "\27\27[0m[0m")
    assert.equal("\\x1b]0;never ended", log.sanitize "\27]0;never ended")
  end)

  it("takes CR LF as a line feed", function()
    assert.equal("a\nb\n", log.sanitize "a\r\nb\r\r\n")
  end)

  it("shows invalid UTF-8 and unsafe characters as escapes", function()
    assert.equal("a\\xffb\\xc3", log.sanitize "a\xffb\xc3")
    assert.equal("\\xed\\xa0\\x80", log.sanitize "\xed\xa0\x80")
    assert.equal("é\\x80é", log.sanitize "é\x80é")
    assert.equal("\\u{9b}31m", log.sanitize "\u{9b}31m")
    assert.equal("\\u{202e}txt\\u{2028}\\u{feff}", log.sanitize "\u{202e}txt\u{2028}\u{feff}")
  end)

  it("shows the last bytes within a limit and says how many were cut", function()
    assert.equal("[3 bytes cut]defg", log.sanitize("abcdefg", 4))
    assert.equal("abcdefg", log.sanitize("abcdefg", 7))
    assert.equal("[2 bytes cut]é", log.sanitize("éé", 3))
    assert.equal("[7 bytes cut]", log.sanitize("abcdefg", 0))
    assert.equal("[4 bytes cut]", log.sanitize("\x80\x80\x80\x80", 2))
  end)

  it("leaves no control byte of any input but line feed and tab", function()
    math.randomseed(7)
    for _ = 1, 300 do
      local bytes = {}
      for i = 1, 60 do bytes[i] = string.char(math.random(3) == 1 and 27 or math.random(0, 255)) end
      local text = log.sanitize(table.concat(bytes))
      assert.is_nil(text:find "[\0-\8\11-\31\127]")
      assert.is_truthy(utf8.len(text))
      assert.is_nil(log.one_line(table.concat(bytes)):find "%c")
    end
  end)

  it("takes long and hostile input in a moment", function()
    -- Quadratic work would take hours.
    log.sanitize(("\27]"):rep(1000000))
    log.sanitize(("\27["):rep(1000000))
    log.sanitize("\27[" .. ("1"):rep(2000000))
  end)
end)

describe("log.one_line", function()
  it("shows line feeds and tabs as escapes", function()
    assert.equal("a\\nb\\tc\\r\\n", log.one_line "a\nb\tc\r\n")
  end)

  it("shows the first bytes within a limit and says how many were cut", function()
    assert.equal("abcd[3 bytes cut]", log.one_line("abcdefg", 4))
    assert.equal("é[2 bytes cut]", log.one_line("éé", 3))
  end)
end)

describe("the levels of vmctl.log", function()
  local written, write, isatty

  before_each(function()
    written, write, isatty = {}, log.write, log.isatty
    log.write = function(text) written[#written + 1] = text end
  end)

  after_each(function()
    log.write, log.isatty, log.clock = write, isatty, nil
    log.set_level "off"
  end)

  it("are all off until they are asked for", function()
    log.set_level "off"
    log.error "x"
    log.info "x"
    log.debug "x"
    assert.same({}, written)
    assert.is_false(log.enabled "error")
  end)

  it("include the more urgent ones", function()
    log.set_level "info"
    log.error "one"
    log.info "two"
    log.debug "three"
    assert.same({ "vmctl: error: one\n", "vmctl: info: two\n" }, written)
    assert.is_true(log.enabled "error")
    assert.is_true(log.enabled "info")
    assert.is_false(log.enabled "debug")
  end)

  it("cost a call of an empty function when they are off", function()
    log.set_level "error"
    assert.equal(log.info, log.debug)
    assert.is_true(pcall(log.debug, nil, {}, print))
  end)

  it("take a format when arguments follow, and plain text when none do", function()
    log.set_level "debug"
    log.debug("%s has %d bytes", "frame", 5)
    log.debug "100%"
    log.debug("wrong %d", "x")
    assert.equal("vmctl: debug: frame has 5 bytes\n", written[1])
    assert.equal("vmctl: debug: 100%\n", written[2])
    assert.matches("^vmctl: debug: wrong %%d %(.*number expected.*%)\n$", written[3])
  end)

  it("write one line an event, whatever the text holds", function()
    log.set_level "debug"
    log.debug("%s", "guest says\nvmctl: error: forged\27[31m\r")
    assert.same({ "vmctl: debug: guest says\\nvmctl: error: forged\\r\n" }, written)
  end)

  it("mask hidden secrets, also as JSON spells them", function()
    log.set_level "debug"
    log.hide 'hun"ter/2'
    log.debug [[set hun"ter/2, {"a":"hun\"ter/2","b":"hun\"ter\/2"}]]
    log.unhide 'hun"ter/2'
    log.debug 'hun"ter/2'
    assert.equal('vmctl: debug: set ***, {"a":"***","b":"***"}\n', written[1])
    assert.equal('vmctl: debug: hun"ter/2\n', written[2])
  end)

  it("keep a secret hidden that was hidden twice and taken back once", function()
    log.hide "s3cret"
    log.hide "s3cret"
    log.unhide "s3cret"
    assert.equal("***", log.mask "s3cret")
    log.unhide "s3cret"
    log.unhide "s3cret"
    assert.equal("s3cret", log.mask "s3cret")
    log.hide ""
    assert.equal("abc", log.mask "abc")
  end)

  it("put the time in front when there is a clock", function()
    log.set_level "info"
    log.clock = function() return 12.5 end
    log.info "x"
    assert.same({ "[12.500000] vmctl: info: x\n" }, written)
  end)

  it("refuse an unknown level at the caller's line", function()
    local ok, message = pcall(function() log.set_level "loud" end)
    assert.is_false(ok)
    assert.matches("log_spec%.lua:%d+: log%.set_level: no level 'loud'", message)
  end)

  it("show progress on a terminal only, and wipe it before a line", function()
    log.set_level "info"
    log.progress "booting"
    assert.same({}, written)
    log.isatty = function() return true end
    log.progress("booting\n" .. ("x"):rep(200))
    log.info "up"
    log.progress "copying"
    log.progress()
    log.progress()
    assert.matches("^\r\27%[Kbooting\\nxxx", written[1])
    assert.is_true(#written[1] <= 79 + 4)
    assert.equal("\r\27[Kvmctl: info: up\n", written[2])
    assert.same({ "\r\27[Kcopying", "\r\27[K" }, { written[3], written[4] })
    assert.equal(4, #written)
  end)

  it("come from VMCTL_LOG when the module is loaded", function()
    local path = assert(package.searchpath("vmctl.log", package.path))
    local function levels(value)
      local environment = { os = { getenv = function(name) return name == "VMCTL_LOG" and value or nil end } }
      local fresh = assert(loadfile(path, "t", setmetatable(environment, { __index = _G })))()
      local on = {}
      for _, name in ipairs { "error", "info", "debug" } do on[#on + 1] = fresh.enabled(name) and name or nil end
      return table.concat(on, " ")
    end
    assert.equal("", levels(nil))
    assert.equal("", levels "")
    assert.equal("", levels "off")
    assert.equal("error", levels "error")
    assert.equal("error info", levels "info")
    assert.equal("error info debug", levels "debug")
    assert.equal("error info debug", levels "1")
  end)
end)

describe("vmctl.errors", function()
  it("wraps a failure and lets a success through", function()
    local extra = {}
    assert.same({ n = 4, [2] = "call ping: timed out", [3] = "ETIMEDOUT", [4] = extra },
      table.pack(errors.wrap("call ping", nil, "timed out", "ETIMEDOUT", extra)))
    assert.same({ n = 3, 1, nil, 3 }, table.pack(errors.wrap("call ping", 1, nil, 3)))
    assert.same({ n = 1, false }, table.pack(errors.wrap("call ping", false)))
    assert.equal("call ping: failed", select(2, errors.wrap("call ping", nil)))
  end)

  it("fails with a message and a code", function()
    local _, message, code = errors.fail("EPROTO", "type %d is unknown", 7)
    assert.equal("type 7 is unknown", message)
    assert.equal("EPROTO", code)
    assert.equal("100%", select(2, errors.fail("EPROTO", "100%")))
  end)

  it("has a meaning for each code, once", function()
    local seen = {}
    for _, code in ipairs(errors.codes) do
      assert.matches("^E[A-Z]+$", code.name)
      assert.is_nil(seen[code.name])
      seen[code.name] = true
      assert.equal(code.meaning, errors.meaning(code.name))
    end
    assert.is_nil(errors.meaning "EWHAT")
  end)

  it("tries again what means not yet, per transport", function()
    local function retries(transport, ...)
      for _, code in ipairs { ... } do
        assert.is_true(errors.retryable(code, "connect", transport), transport .. " " .. code)
      end
    end
    retries("unix", "ENOENT", "ECONNREFUSED", "EAGAIN", "ECONNRESET", "ENOBUFS", "EINTR")
    retries("vsock", "ECONNRESET", "ENODEV", "ETIMEDOUT", "EOF")
    retries("tcp", "ECONNREFUSED", "EHOSTUNREACH", "ETIMEDOUT", "EOF")
    retries("hybrid", "ENOENT", "ECONNREFUSED", "EOF", "EPIPE", "ECONNRESET")
    retries("serial", "ENOENT", "ENXIO", "EBUSY")
    retries("func", "ENOENT", "ENODEV", "ECONNREFUSED", "EOF")
    assert.is_true(errors.retryable("ENOENT", "connect"))
    assert.is_false(errors.retryable("ENOENT", "connect", "tcp"))
    assert.is_false(errors.retryable("EBUSY", "connect", "unix"))
    for _, code in ipairs { "EACCES", "EPROTO", "EINVAL", "ECANCELED", "ENAMETOOLONG", "ERESOLVE", "ETOOBIG" } do
      assert.is_false(errors.retryable(code, "connect"))
    end
    assert.is_false(errors.retryable(nil, "connect", "tcp"))
  end)

  it("tries nothing again that may have had its effect", function()
    assert.is_true(errors.retryable("ENOBUFS", "send", "tcp"))
    assert.is_false(errors.retryable("ECONNRESET", "send", "tcp"))
    for _, code in ipairs { "ECONNRESET", "EOF", "ENOBUFS", "ETIMEDOUT" } do
      assert.is_false(errors.retryable(code, "request", "tcp"))
    end
    assert.has_error(function() errors.retryable("EOF", "conect", "tcp") end)
  end)

  it("masks the longer secret first, and any bytes as they are", function()
    assert.equal("***, ***", errors.mask("hunter2, hunter", { "hunter", "hunter2" }))
    assert.equal("a***b", errors.mask("a%d.*[x]\0b", { "%d.*[x]\0" }))
    assert.equal("text", errors.mask("text", { "", "absent" }))
    assert.equal('no a in that folder, but TOKEN=*** and "***", \'***\'', -- a short one is in many a word
      errors.mask('no a in that folder, but TOKEN=a and "a", \'a\'', { "a" }))
    assert.equal([["***"]], errors.mask([["line\nline\u0001"]], { "line\nline\1" }))
  end)
end)
