-- Makes the seeds of the fuzz targets from the wire vectors: one file for each vector that a target understands.
-- usage: lua5.4 fuzz/corpus.lua FOLDER TARGET...       writes FOLDER/TARGET/VECTORS-LINE-NAME
-- Raises on anything that it cannot use: a vector that is left out in silence is one that is never tried.
local cjson = require "cjson"

-- The vector files whose bytes a target decodes. A target that is not named here gets all of them.
local sources = {
  frame = { "exec", "qemu-l2", "cc-ipc", "ttrpc" },
  line = { "stereos", "hybrid-vsock" },
  hybrid = { "hybrid-vsock" },
  stereos = { "stereos" },
  qmp = { "stereos" }, -- of other messages, but of lines of JSON
  json = { "stereos" },
  l2 = { "qemu-l2" },
  pb = { "ttrpc" },
  ttrpc = { "ttrpc" },
  cc = { "cc-ipc" },
}

-- Seeds of protocols without vectors: what one end sends, frame by frame.
local function yamux(...)
  return (">BBI2I4I4"):pack(0, ...)
end
local made = {
  yamux = {
    open = yamux(1, 1, 2, 0) .. yamux(0, 0, 2, 5) .. "hello" .. yamux(0, 4, 2, 0), -- window with SYN, data, data with FIN
    answer = yamux(1, 2, 1, 0) .. yamux(0, 0, 1, 3) .. "yes" .. yamux(1, 4, 1, 0),
    window = yamux(1, 2, 3, 0) .. yamux(1, 0, 3, 262144) .. yamux(0, 8, 3, 0),
    session = yamux(2, 1, 0, 7) .. yamux(2, 2, 0, 1) .. yamux(3, 0, 0, 0),
    many = yamux(1, 1, 1, 0) .. yamux(1, 1, 2, 0) .. yamux(1, 1, 4, 0) .. yamux(1, 1, 6, 0) .. yamux(0, 0, 4, 1) .. "x",
  },
}

-- Archives of one entry each.
package.path = "lua/?.lua;" .. package.path
local function archive(entry, content, knows)
  local writer, parts = require "vmctl.tar.write", {}
  local function write(bytes)
    parts[#parts + 1] = bytes
    return true
  end
  for name, value in pairs { path = "a/b", type = "file", mode = 420, uid = 0, gid = 0, mtime = 5, size = #content } do
    if entry[name] == nil then entry[name] = value end
  end
  assert(writer.entry(write, entry, function() return content end, knows))
  assert(writer.finish(write))
  return table.concat(parts)
end

made.tar = {
  file = archive({}, "hello"), folder = archive({ type = "directory" }, ""), link = archive({ type = "link", link = "../x" }, ""),
  hard = archive({ type = "hard", link = "a/c" }, ""), long = archive({ path = ("n/"):rep(80) .. "x" }, "x"),
  large_owner = archive({ uid = 1000240000, gid = 1 << 40, mtime = -5 }, "x"), pax = archive({ nsec = 5 }, "x", "pax"),
  sparse = archive({ map = { { offset = 512, size = 3 }, { offset = 9000, size = 2 } }, real_size = 10000, size = 5 }, "hello", "pax"),
}

-- Sets of the specs' .proto files, with a message before them.
local function descriptor_set(folder, name, message)
  local command = "protoc-c -I%s -Iproto --include_imports --descriptor_set_out=/dev/stdout %s.proto"
  local pipe <close> = assert(io.popen(command:format(folder, name)))
  return string.char(#message) .. message .. pipe:read "a"
end

made.set = {
  machines = descriptor_set("spec/descriptor_set", "machines", "\10\1n\16\1\66\0\74\6\10\1a\18\1b\170\1\2\1\2"),
  types = descriptor_set("spec/protobuf", "types", "\8\1\16\1\98\0\122\1x"), old = descriptor_set("spec/protobuf", "old", "\8\1\18\1n"),
  status = descriptor_set("proto", "google/rpc/status", "\8\1\18\1n\26\2\10\0"),
  common = descriptor_set("spec/descriptor_set", "common", ""),
}

-- Conversations, as fuzz/talk_fuzz.lua reads them: with each of ours (the first byte), all messages in order with a pause behind each,
-- and then silence, the end of what is sent, or a close.
made.talk = {}
for side = 0, 15 do
  for name, last in pairs { silence = 4 << 5 | 15, half = 6 << 5, close = 7 << 5 } do
    local parts = { string.char(side) }
    for message = 0, 31 do parts[#parts + 1] = string.char(2 << 5 | message, 5 << 5, 4 << 5 | message % 4) end
    made.talk[name .. side] = table.concat(parts) .. string.char(last)
  end
  for message = 0, 31 do made.talk[("one%d_%d"):format(side, message)] = string.char(side, 2 << 5 | message, 4 << 5 | 3, 5 << 5) end
end
made.jcard = {
  plain = 'name = "x"\n[secrets]\na = "b"\n[other]\nc = 1\n', dotted = "secrets.a = 'x'\nb = 2\n",
  inline = "secrets = { a = 1 }\nb = [\n1,\n]\n",
  long = 'a = """x\n[secrets]\n"""\n[[secrets]]\n"q" = 1\n', comment = "# [secrets]\n[secrets.deep]\nx = 1\n",
}
made.address = {
  tcp = "tcp:[::1]:80", host = "tcp:example.org:5000", unix = "unix:/run/a.sock", vsock = "vsock:3:5000",
  hybrid = "hybrid:/run/v.sock:5000", serial = "serial:/dev/vport0p1", chardev = "chardev:/run/c.sock", exec = "exec:ssh host x",
  fd = "fd:7",
}
made.exec = {
  request = '{"command":"true","working_dir":"/","env":{"A":"b"},"user":"x","rows":24,"cols":80,"argv_b64":["dHJ1ZQ=="],"token":"x"}',
  response = '{"exit_code":0,"stdout":"aGk=","stderr":null,"error":"","signal":9,"lingering":true}', exit = "\0\0\0\1\9\3why",
  files = '{"files":[{"name":"a","size":1,"mode":420,"is_dir":false,"name_b64":"YQ=="}]}', content = '{"content":"aGVsbG8="}',
  failed = '{"error":"no such file"}', resize = "\0\24\0\80",
}
made.qga = {
  started = '{"pid":5}', ended = '{"exited":true,"exitcode":0,"out-data":"aGk=","err-data":"","out-truncated":false}',
  read = '{"count":2,"buf-b64":"aGk=","eof":true}',
  info = '{"version":"8","supported_commands":[{"name":"guest-ping","enabled":true,"success-response":true}]}', number = "7",
  name = '{"host-name":"x"}', cards = '[{"name":"lo","ip-addresses":[]}]', written = '{"count":3}',
}
made.forward = {
  id = (">s4"):pack "socketfwd-1-abcdef", again = (">s4"):pack "an-id-1-abcdef", refused = (">s4"):pack "unknown forward ID",
}
made.mux = {
  hello = "\xff\xfevmctl?\n0123456789abcdef",
  connect = "\xff\xfevmctl?\n0123456789abcdef" .. yamux(1, 1, 1, 0) .. yamux(0, 0, 1, 10) .. "CONNECT 7\n",
  answer = "\xff\xfevmctl!\n0123456789abcdef", other = yamux(1, 1, 1, 0) .. "\xff\xfevmctl?\n" .. ("z"):rep(16),
}
-- Messages to an end of a trunk: as the first (it opens the streams), and as the second.
local trunk_networks = '{"type":"networks","name":"lan","networks":{"lan":["' .. ("0a"):rep(16) .. '"]}}\n'
local trunk_talk = trunk_networks .. '{"type":"ready"}\n'
local trunk_refusal = '{"type":"refused","code":"ELOOP","message":"a loop"}\n'
made.trunk = {
  hello = "\xffvmctl-trunk\1\0\0\0" .. ("n"):rep(32) .. ("p"):rep(32), networks = trunk_networks, refused = trunk_refusal,
  reach = '{"type":"reach","network":"lan","ids":["' .. ("0b"):rep(16) .. '","' .. ("0c"):rep(16) .. '"]}',
  first = yamux(1, 2, 1, 0) .. yamux(0, 0, 1, #trunk_talk) .. trunk_talk .. yamux(1, 2, 3, 0) .. yamux(0, 0, 3, 64) .. ("f"):rep(64),
  second = yamux(1, 1, 1, 0) .. yamux(0, 0, 1, #trunk_talk) .. trunk_talk .. yamux(1, 1, 3, 0) .. yamux(0, 0, 3, 12) .. "NETWORK lan\n"
    .. yamux(2, 1, 0, 1),
  refuses = yamux(1, 1, 1, 0) .. yamux(0, 0, 1, #trunk_refusal) .. trunk_refusal,
}
made.replay = {
  lines = '{"ev":"start","t":0,"pid":1}\n{"ev":"open","t":1,"s":"1.1","how":"dial","address":"unix:/x","protocol":"qmp"}\n'
    .. '{"ev":"line","t":2,"s":"1.1","dir":"in","size":2,"text":"{}"}\n{"ev":"end","t":3,"s":"1.1","dir":"in"}\n'
    .. '{"ev":"close","t":4,"s":"1.1"}\n',
  frames = '{"ev":"open","t":1,"s":"a","how":"accept","address":"x","protocol":"exec"}\n'
    .. '{"ev":"frame","t":2,"s":"a","dir":"out","type":1,"size":4,"data":"AAAA"}\n',
  info = '{"name":"web","pid":7}',
}
-- The beginnings of file systems, as fuzz/stage1_fuzz.c reads them, and a word of a command line.
made.stage1 = {
  ext4 = "\1" .. ("\0"):rep(0x38) .. "\x53\xef" .. ("\0"):rep(0x2e) .. ("u"):rep(16) .. "label", xfs = "\0XFSB" .. ("\0"):rep(200),
  btrfs = "\2" .. ("\0"):rep(0x40) .. "_BHRfS_M" .. ("x"):rep(400), erofs = "\1\xe2\xe1\xf5\xe0" .. ("y"):rep(120),
  squashfs = "\0hsqs", vfat = "\0" .. ("z"):rep(0x52) .. "FAT32   ", word = "\0a%20b%2", cut = "\x80hs",
}
-- Layouts of images, as fuzz/oci_fuzz.lua reads them.
local oci_manifest = '{"config":{"digest":"@3"},"layers":[{"digest":"@4","size":1}]}\n'
local oci_config = '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:' .. ("0"):rep(64)
  .. '"]},"config":{"Env":["A=b"],"User":"u","WorkingDir":"/","Entrypoint":["/e"],"Cmd":["c"]}}\nx'
local oci_platform = '"platform":{"architecture":"amd64","os":"linux"}'
made.oci = {
  plain = '{"schemaVersion":2,"manifests":[{"digest":"@2","size":1,' .. oci_platform .. '}]}\n' .. oci_manifest .. oci_config,
  tagged = '{"manifests":[{"digest":"@2","annotations":{"org.opencontainers.image.ref.name":"a"}},{"digest":"@5",'
    .. '"platform":{"architecture":"arm64"}}]}\n' .. oci_manifest .. oci_config,
  docker = '[{"Config":"file3","RepoTags":["x:a"],"Layers":["file4"]}]\n{}\n' .. oci_config,
  inner = '{"manifests":[{"digest":"@5"}]}\n' .. oci_manifest .. oci_config .. '\n{"manifests":[{"digest":"@6"}]}\n{"layers":[]}',
}
made.console = {
  panic = "[    0.1] Linux\r\n\27[1;31mKernel panic - not syncing: x\27[0m\r\n", title = "\27]0;title\7text\27(B",
  utf8 = "gr\u{fc}n \xff\xc3",
}

made.remote = {
  serve = "Welcome!\nvmctl-serve 1 1.2.3\n", use = "vmctl-use 1 1.2.3\n", other = "vmctl-serve 2 0.9-rc1\n",
  answer = '{"id":1,"pid":77,"accel":"tcg","accel_reason":"x","command":["qemu"],"macs":["52:54:00:00:00:01"]}\n',
  refusal = '{"error":"no such file","code":"ENOENT"}\n', host = "ann@web-1.example:2222", six = "[fe80::1%eth0]:22",
}

-- The bytes in front of what a target decodes.
local headers = { cc = 6, pb = 10 }

local function quote(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local function run(command)
  assert(os.execute(command), command)
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

local function unhex(hex, where)
  if type(hex) ~= "string" or #hex % 2 ~= 0 or hex:find "%X" then
    error(where .. ": no 'hex' member, or one that is not hex")
  end
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- The vectors of one file: { { name =, bytes = }, ... }, the name fit for a file name.
local function load_vectors(path, stem)
  local vectors, number = {}, 0
  for line in assert(io.open(path)):lines() do
    number = number + 1
    local where = ("%s:%d"):format(path, number)
    local ok, vector = pcall(cjson.decode, line)
    if not ok then error(where .. ": " .. vector) end
    local name = tostring(vector.name):gsub("[^%w._-]", "_")
    table.insert(vectors, {
      name = ("%s-%03d-%s"):format(stem, number, name),
      bytes = unhex(vector.hex, where),
    })
  end
  if number == 0 then error(path .. ": no vectors") end
  return vectors
end

local function load_all(folder)
  local all, count = {}, 0
  local list = assert(io.popen("ls " .. quote(folder)))
  for file in list:lines() do
    local stem = file:match "^(.*)%.jsonl$"
    if stem then
      all[stem] = load_vectors(folder .. "/" .. file, stem)
      count = count + 1
    end
  end
  list:close()
  if count == 0 then error(folder .. ": no vector files") end
  return all
end

local function stems_of(target, all)
  if sources[target] then return sources[target] end
  if made[target] then return {} end
  local stems = {}
  for stem in pairs(all) do table.insert(stems, stem) end
  return stems
end

-- Texts for the decoder: the members of JSON payloads that are base64 already.
local function add_base64_texts(folder, vector)
  local number = 0
  for text in vector.bytes:gmatch '"([%w+/]+=?=?)"' do
    if #text % 4 == 0 then
      number = number + 1
      write(("%s/%s.text%d"):format(folder, vector.name, number), text)
    end
  end
end

local function make(folder, target, all)
  folder = folder .. "/" .. target
  run("mkdir -p " .. quote(folder))
  for _, stem in ipairs(stems_of(target, all)) do
    for _, vector in ipairs(all[stem] or error("no vectors of " .. stem)) do
      write(folder .. "/" .. vector.name, vector.bytes:sub((headers[target] or 0) + 1))
      if target == "base64" then add_base64_texts(folder, vector) end
    end
  end
  for name, bytes in pairs(made[target] or {}) do write(folder .. "/" .. name, bytes) end
end

local root = arg[0]:match "^(.*)/[^/]*/[^/]*$" or "."
local folder = assert(arg[1], "usage: corpus.lua FOLDER TARGET...")
local all = load_all(root .. "/spec/vectors")
for i = 2, #arg do make(folder, arg[i], all) end
