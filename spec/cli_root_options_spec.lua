-- The options `vmctl run --root` and its sisters, as machine.launch gets them.
local assert = require "luassert"
local argparse = require "argparse"
local cli = require "spec.support.cli"
local root_options = require "vmctl.cli.root_options"
local support = require "spec.support"

local function parse(...)
  local parser = argparse "run"
  root_options.describe(parser)
  return root_options.take(parser:parse { ... })
end

describe("the options of a root", function()
  it("are those of a launch", function()
    assert.same({ shares = {} }, parse())
    assert.same({ root = { "disk:a#2", keep = "k", read_only = true }, init = "system", writes = "keep", shares = {} },
      parse("--root", "disk:a#2", "--keep", "k", "--read-only", "--init", "system", "--writes", "keep"))
    assert.same({ root = { size = "4G" }, init = { "/bin/sh", "-x" }, shares = {} }, parse("--size", "4G", "--init", "/bin/sh -x"))
    assert.same({ root = { "oci:a" }, network = "user", ports = { "1:2", "3:4" }, shares = {
      { host = "a:b", guest = "/c", read_only = false }, { host = ".", guest = "/d", read_only = true },
    } }, parse("--root", "oci:a", "-p", "1:2", "--port", "3:4", "--share", "a:b:/c", "--share", ".:/d:ro"))
  end)

  it("have an init in words as a shell has them", function()
    assert.same({ "sh", "-c", "exec /sbin/init --log='a b'", "" }, parse("--root", "dir:a", "--init",
      [[sh -c "exec /sbin/init --log='a b'" '']]).init)
    for init, words in pairs { ["sh -c 'a"] = "--init sh -c 'a: the quote at byte 7 has no end",
      [" "] = '--init " ": agent, system or a command expected', ["'' a"] = [[--init "'' a": agent, system or a command expected]] } do
      assert.same({ nil, words, "EINVAL" }, { parse("--root", "dir:a", "--init", init) })
    end
  end)

  it("share a folder with its extended attributes", function()
    for text, read_only in pairs { ["a:/b:xattrs"] = false, ["a:/b:ro:xattrs"] = true, ["a:/b:xattrs:ro"] = true } do
      assert.same({ { host = "a", guest = "/b", read_only = read_only, xattrs = true } }, parse("--share", text).shares)
    end
    assert.equal("EINVAL", support.code(parse("--share", "a:/b:rw")))
  end)

  it("ask for a way out in a word", function()
    assert.same({ network = { "user", out = true }, ports = { "1:2" }, shares = {} }, parse("--network", "out", "-p", "1:2"))
  end)

  it("are refused without one, and where they are not to be understood", function()
    for _, words in ipairs {
      { "--init", "system" }, { "--boot", "kernel" }, { "--firmware", "efi" }, { "--writes", "keep" }, { "--keep", "a" }, { "--read-only" },
      { "--share", "a" }, { "--share", "a:b" }, { "--share", ":/b" },
    } do
      assert.equal("EINVAL", support.code(parse(table.unpack(words))), words[1])
    end
  end)

  it("keep nothing that nobody would find again", support.run(function()
    local function refused(words)
      local result = cli.run(words)
      assert.equal(125, result.exit_code)
      return result.stderr
    end
    assert.equal("vmctl: --writes keep needs the guest's name, by which it is found again (--name), or the file (--keep)\n",
      refused { "run", "--root", "dir:spec", "--writes", "keep", "--", "true" })
    assert.equal("vmctl: a -- with nothing behind it is for the program of an image: name one (--root)\n", refused { "run", "--" })
  end))
end)
