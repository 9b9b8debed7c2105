-- The pages of `make doc` in a headless Chromium: each fits a telephone, and the search finds what there is (`make test-report`).
-- Takes about 10 seconds.
local assert = require "luassert"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local SITE = lfs.currentdir() .. "/build/doc"

-- Tells in its title which pages are wider than their frames, and what the search of the first one finds.
local PROBE = [[<html><head><title>nothing</title></head><body>%s<script>addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")], page = frames[0].contentDocument, box = page.getElementById("search");
  const wide = frames.filter(f => f.contentDocument.documentElement.scrollWidth > f.contentWindow.innerWidth);
  box.value = "scenario:partition"; box.dispatchEvent(new frames[0].contentWindow.Event("input"));
  const hit = page.querySelector("#found a");
  document.title = [frames.length, wide.map(f => f.getAttribute("src")).join(" "), hit && hit.getAttribute("href")].join("|") })
</script></body></html>]]

describe("the site", function()
  local browser = os.execute "command -v chromium >/dev/null" and "chromium"
  if not (browser and lfs.attributes(SITE .. "/index.html")) and not os.getenv "VMCTL_BROWSER" then
    pending "no Chromium here, or no site (make test-report has both)"
    return
  end

  it("fits a telephone, and its search finds a function", support.run(function()
    local frames = { '<iframe src="index.html" width="390" height="400"></iframe>' }
    for path in assert(vmctl.host:run { "find", ".", "-name", "*.html", cwd = SITE, check = true }).stdout:gmatch "%./([^\n]+)" do
      if path ~= "index.html" then frames[#frames + 1] = ('<iframe src="%s" width="390" height="400"></iframe>'):format(path) end
    end
    local folder = support.tmpdir()
    assert(vmctl.host:run { "cp", "-r", SITE, folder .. "/site", check = true })
    assert(vmctl.host:write_file(folder .. "/site/probe.html", PROBE:format(table.concat(frames))))
    local done = assert(vmctl.host:run { browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom", "--user-data-dir=" .. folder .. "/profile",
      "file://" .. folder .. "/site/probe.html", timeout = LIMIT, env = { LD_PRELOAD = "" } })
    assert.equal(("%d||reference/testing/vmctl.scenario.html#Scenario:partition"):format(#frames), done.stdout:match "<title>(.-)</title>")
    assert.is_true(#frames > 40, #frames)
  end, 2 * LIMIT))
end)
