local assert = require "luassert"
local lfs = require "lfs"
local citations = require "spec.support.citations"

-- A folder with the given files, whose citations are looked at.
local function unresolved(files)
  local folder = os.tmpname()
  assert(os.remove(folder))
  assert(lfs.mkdir(folder))
  assert(lfs.mkdir(folder .. "/docs"))
  local names = {}
  for name, text in pairs(files) do
    local file <close> = assert(io.open(folder .. "/" .. name, "w"))
    assert(file:write(text))
    names[#names + 1] = name
  end
  table.sort(names)
  local found = citations.unresolved(folder, names)
  for _, name in ipairs(names) do assert(os.remove(folder .. "/" .. name)) end
  assert(lfs.rmdir(folder .. "/docs"))
  assert(lfs.rmdir(folder))
  return found
end

local DOCUMENT = "# Title\n\n## Error codes\n\n```\n# no heading\n```\n## Error codes\n"
local AT = "docs/a.md"

describe("Citations of documents", function()
  it("lead to a section, in every file of the repository", function()
    assert.same({}, citations.unresolved())
  end)

  it("are found in order when the file or the section is missing", function()
    assert.same({
      "code.lua:1: " .. AT .. "#no-heading: there is no such section",
      "code.lua:3: docs" .. "/b.md: there is no such file",
    }, unresolved {
      ["docs/a.md"] = DOCUMENT,
      ["code.lua"] = ("-- %s#no-heading\n-- %s#error-codes\n-- docs/b.md\n"):format(AT, AT),
    })
  end)

  it("may name a section alone, of the document named last", function()
    assert.same({ "code.c:3: #no-heading: there is no such section" }, unresolved {
      ["docs/a.md"] = DOCUMENT,
      ["code.c"] = ("/* %s */\n/* [#error-codes] */\n/* [#no-heading] */\n"):format(AT),
    })
  end)

  it("have to name a document", function()
    assert.same({ "code.c:1: wire document: there is no such file" }, unresolved {
      ["code.c"] = "/* see the wire document, page 3 */\n",
    })
  end)

  it("are the links of Markdown as well, relative to their file", function()
    assert.same({
      "docs/b.md:2: a.md#nothing: there is no such section",
      "docs/b.md:3: #nothing: there is no such section",
      "docs/b.md:5: ../absent: there is no such file",
    }, unresolved {
      ["docs/a.md"] = DOCUMENT,
      ["docs/b.md"] = "# B\n[x](a.md#nothing)\n[x](#nothing)\n"
        .. "[x](a.md#error-codes-1) [y](#b) [z](https://example.org/#q)\n[x](../absent)\n",
    })
  end)
end)

describe("Files that documents name", function()
  local documents = { "README.md", "SECURITY.md", "stress/README.md" }
  for name in lfs.dir "docs" do
    if name:find "%.md$" then documents[#documents + 1] = "docs/" .. name end
  end

  it("are there", function() assert.same({}, citations.absent_files(".", documents)) end)

  it("are found when they are not", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    assert(file:write("`spec/citations_spec.lua` and `spec/" .. "absent_spec.lua`, `spec/*.lua`, `make all`, `pkg/tap/switch.go`\n"))
    assert(file:flush())
    local folder, name = path:match "^(.*)/([^/]+)$"
    assert.same({ name .. ": spec/" .. "citations_spec.lua", name .. ": spec/" .. "absent_spec.lua" },
      citations.absent_files(folder, { name }))
    assert(os.remove(path))
  end)
end)
