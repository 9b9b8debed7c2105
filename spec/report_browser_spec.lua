-- The page of `vmctl report` in a headless Chromium: it fits a desk and a telephone, and is dark where the user wants that
-- (`make test-report`).
-- Takes about 15 seconds.
local assert = require "luassert"
local report = require "vmctl.suite.report"
local suite_results = require "spec.support.suite_results"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local PROBE = [[<script>addEventListener("load", () => { const css = getComputedStyle(document.body);
  document.title = [document.documentElement.scrollWidth <= innerWidth ? "fits" : "is too wide", innerWidth, css.backgroundColor,
  document.querySelectorAll("details[open]").length].join("|") })</script>]]

local function find_browser()
  for _, name in ipairs { "chromium", "chromium-browser" } do
    if os.execute(("command -v %s >/dev/null"):format(name)) then return name end
  end
end

describe("a suite's report in a browser", function()
  local browser = find_browser()
  if not browser and not os.getenv "VMCTL_BROWSER" then
    pending "no Chromium here (make test-report installs it)"
    return
  end

  -- The findings of the probe, at a width, in light or dark.
  local function look(folder, width, dark)
    local command = { browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
      "--user-data-dir=" .. folder .. "/profile", ("--window-size=%d,900"):format(width), timeout = LIMIT,
      env = { LD_PRELOAD = "" } } -- no sanitizer's library
    if dark then command[#command + 1] = "--blink-settings=preferredColorScheme=0" end
    command[#command + 1] = "file://" .. folder .. "/page.html"
    return assert(vmctl.host:run(command)).stdout:match "<title>(.-)</title>"
  end

  it("fits at two widths, light and dark, with the failure open", support.run(function()
    local folder = support.tmpdir()
    local page = report.page(suite_results.fill(folder), folder)
    local file <close> = assert(io.open(folder .. "/page.html", "w"))
    file:write((page:gsub("</head>", function() return PROBE .. "</head>" end)))
    file:close()
    assert.equal("fits|1200|rgb(255, 255, 255)|1", look(folder, 1200))
    assert.equal("fits|1200|rgb(18, 22, 28)|1", look(folder, 1200, true))
    assert.matches("^fits|%d%d%d|rgb%(255, 255, 255%)|1$", look(folder, 500))
  end, 3 * LIMIT))
end)
