-- lua5.4 tools/doc/site.lua FOLDER: the guides as a site, beside the reference that LDoc has written to FOLDER/reference: pages of
-- Markdown become HTML by cmark-gfm, with a list of all pages, and an index for the search. The modules must be found (make env).
package.path = "tools/?.lua;" .. package.path
local contents = require "doc.contents"
local vmctl = require "vmctl"

local folder = assert(arg[1], "site: a folder expected")

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function write(path, text)
  assert(vmctl.host:run { "mkdir", "-p", (path:match "^(.*)/"), check = true })
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- As GitHub makes anchors of headings: spec/support/citations.lua looks for them so.
local function slug(html)
  local text = html:gsub("<[^>]+>", ""):gsub("&%w+;", "")
  return (text:lower():gsub("[^%w _-]", ""):gsub(" ", "-"))
end

-- The way from one page of the site to another.
local function relative(from, to)
  local up = from:gsub("[^/]*$", ""):gsub("[^/]+/", "../")
  return up .. to
end

local function escape(text) return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" })) end

-- Where a link of a page of the repository leads to on the site; files that are no page are named, not linked.
local function target(page, href)
  local path, anchor = href:match "^([^#]*)(#?.*)$"
  if path == "" or href:find "^%a+:" then return href end
  local full = page.source:gsub("[^/]*$", "") .. path
  local count
  repeat full, count = full:gsub("[^/]+/%.%./", "", 1) until count == 0
  local to = contents.by_source[full]
  if to then return relative(page.path, to.path) .. anchor, to end
  return contents.files[full] and relative(page.path, contents.files[full]) or nil
end

local function links(page, html)
  html = html:gsub('<a href="([^"]*)">(.-)</a>', function(href, text)
    local to, other = target(page, href)
    if other and text:find "^[%w/.-]+%.md$" then text = escape(other.title) end -- a file's name means nothing here
    return to and ('<a href="%s">%s</a>'):format(to, text) or text
  end)
  return (html:gsub('<img src="([^"]*)"', function(source) return ('<img src="%s"'):format(target(page, source) or source) end))
end

-- Sections for the search: heading, anchor, text.
local function sections(page, html)
  local list, seen = {}, {}
  html = html:gsub("<h(%d)>(.-)</h%1>", function(level, text)
    local anchor = slug(text)
    seen[anchor] = (seen[anchor] or -1) + 1
    if seen[anchor] > 0 then anchor = anchor .. "-" .. seen[anchor] end
    list[#list + 1] = { anchor = anchor, title = text:gsub("<[^>]+>", "") }
    return ('\1%d\2<h%s id="%s">%s<a class="anchor" href="#%s" aria-label="link to this section">#</a></h%s>'):format(#list, level, anchor,
      text, anchor, level)
  end)
  for number, text in html:gmatch "\1(%d+)\2([^\1]*)" do
    local plain = text:gsub("<h%d.-</h%d>", ""):gsub("<[^>]+>", " "):gsub("&%w+;", " "):gsub("%s+", " ")
    list[tonumber(number)].text = plain
  end
  page.sections = list
  return (html:gsub("\1%d+\2", ""))
end

local function navigation(page)
  local out = {}
  for _, group in ipairs(contents.groups) do
    out[#out + 1] = ("<h2>%s</h2><ul>"):format(group[1])
    for i = 2, #group do
      local each = group[i]
      out[#out + 1] = ('<li><a href="%s"%s>%s</a></li>'):format(relative(page.path, each.path),
        each == page and ' aria-current="page"' or "", each.title)
    end
    out[#out + 1] = "</ul>"
  end
  return table.concat(out, "\n")
end

local TEMPLATE = read "tools/doc/page.html"

local function build(page)
  local html = assert(vmctl.host:run { "cmark-gfm", "--unsafe", "-e", "table", page.source, check = true }).stdout
  html = html:gsub("<!%-%-.-%-%->\n?", ""):gsub("<table>", '<div class="wide"><table>'):gsub("</table>", "</table></div>")
  html = sections(page, links(page, html))
  local fields = { title = escape(page.title), root = relative(page.path, ""), navigation = navigation(page), content = html }
  write(folder .. "/" .. page.path, (TEMPLATE:gsub("{{(%w+)}}", fields)))
end

local quote = vmctl.json.encode

local function index()
  local out = {}
  local function add(title, where, href, text) out[#out + 1] = quote { title, where, href, text } end
  for _, page in ipairs(contents.pages) do
    for _, section in ipairs(page.sections) do
      add(section.title, page.title, page.path .. "#" .. section.anchor, section.text)
    end
  end
  local names = read(folder .. "/reference/topics/names.md.html")
  for href, name, summary in names:gmatch '<a href="%.%./([^"]+)">([^<]+)</a></td>%s*<td class="summary">(.-)</td>' do
    add(name, "reference", "reference/" .. href, (summary:gsub("<[^>]+>", "")))
  end
  write(folder .. "/search-index.js", "window.searchIndex = [\n" .. table.concat(out, ",\n") .. "\n];\n")
end

for _, page in ipairs(contents.pages) do build(page) end
for source, to in pairs(contents.files) do
  assert(vmctl.host:run { "mkdir", "-p", ((folder .. "/" .. to):match "^(.*)/"), check = true })
  assert(vmctl.host:run { "cp", source, folder .. "/" .. to, check = true })
end
for _, name in ipairs { "site.css", "search.js" } do write(folder .. "/" .. name, read("tools/doc/" .. name)) end
index()
