---@meta
-- Made of the docstrings by `make annotations`: the parts of vmctl and their classes, for editors. Nothing here is loaded.

do
---@class vmctl
---@field address vmctl.address
---@field cc vmctl.cc
---@field cc_helper vmctl.cc_helper
---@field clock vmctl.clock
---@field config vmctl.config
---@field doctor vmctl.doctor
---@field errors vmctl.errors
---@field exec vmctl.exec
---@field files vmctl.files
---@field fleet vmctl.fleet
---@field host vmctl.ExecClient
---@field instance vmctl.instance
---@field json vmctl.json
---@field l2 vmctl.l2
---@field log vmctl.log
---@field machine vmctl.machine
---@field mux vmctl.mux
---@field process vmctl.process
---@field protobuf vmctl.protobuf
---@field qga vmctl.qga
---@field qmp vmctl.qmp
---@field ready vmctl.ready
---@field rootfs vmctl.rootfs
---@field scenario vmctl.scenario
---@field signals vmctl.signals
---@field socketforward vmctl.socketforward
---@field stereos vmctl.stereos
---@field trace vmctl.trace
---@field ttrpc vmctl.ttrpc
---@field vsock vmctl.vsock
---@field loop vmctl.Loop
local vmctl = {}

--- `vmctl.all(list, fn)` is `map` with no limit; `vmctl.all { f, g, … }` calls functions side by side.
---@return any[] results
function vmctl.all(list, fn) end

--- Makes a channel. Values, senders and receivers keep their order.
---@param capacity? integer values that are kept until they are received; 0 (the default): a send waits for its receiver
---@return vmctl.Channel
function vmctl.channel(capacity) end

--- Connects to an address. Waits until it is connected, handshakes included.
---@param where string|table|function an address (see vmctl.address), e.g. "unix:/run/a.sock", "vsock:3:5000"
---@param opts? { timeout: number?, format?: vmctl.Format|table } seconds for all steps together (10); the frame format of the stream
---@return vmctl.Stream|nil stream
---@return string?
---@return string? code EINVAL, ETIMEDOUT, ECONNREFUSED, ENOENT, ERESOLVE, EPROTO …
function vmctl.dial(where, opts) end

--- Compiles a frame format, for `set_format` of a stream and the `format` of dial and listen. Does not wait.
---@param layout { type: 0|1|2|nil, length: 4|nil, max: integer, limits: table<integer, integer>?, order: "type"|"length"|nil, stream: 0|4|nil, flags: 0|1|nil } type, length, stream, flags: bytes of each field of the header; max: bytes of a payload; limits: by type, where it is not max; order: which field comes first
---@return vmctl.Format
function vmctl.format(layout) end

--- Forwards connections until it is closed. Works in the background: in a program without tasks only while some call waits.
--- Waits until it listens, which takes a moment inside a guest.
---@param opts { from: string|table, to: string|table|function, limit: integer?, timeout: number?, mode: integer?, allow?: function|table, on_connection: function?, idle: number?, linger: number?, rpc?: string|table|function, streams?: string|table|function } from: where others connect: a TCP port (0: any), a Unix socket, a vsock port of this machine, or `vm:inside(…)`; to: the target: any address that can be dialled; limit: connections at a time (256; further ones wait in the backlog, those of a guest for some seconds, then they are refused); timeout: seconds in which the target must be reached (10; from a guest 4, whose agent itself waits no longer than 10); mode: of a Unix socket's file (0600, in a guest 0666); allow: who may connect here, see vmctl.net.access (by default our own user and root, and by TCP this machine); on_connection(peer): called for each connection before the target is dialled, with its address where it has one; may wait; unless it returns true the connection is refused, and its second value is the reason; idle, linger: seconds without a byte, and seconds after one direction has ended, when a connection is ended (no limits); rpc, streams: addresses of an agent's socket forwarding where the target does not tell them (a machine, and an exec client on vsock, have them on the guest's ports 1025 and 1026)
---@return vmctl.Forward|nil forward with address, stats, status, wait, close
---@return string?
---@return string? code EADDRINUSE (a live server has the address, or what is at the path is no socket), EINVAL, ENOTSUP, EACCES …
function vmctl.forward(opts) end

--- True in a task, false in a plain script.
---@return boolean
function vmctl.in_task() end

--- Listens on an address: tcp, unix, vsock, or hybrid (where the VMM connects when the guest dials that port of the host).
--- Waits only to resolve a name.
---@param where string|table
---@param opts? { backlog: integer?, mode: integer? } mode: of a Unix socket's file (0600)
---@return vmctl.Listener|nil listener with accept(timeout), address(), close()
---@return string?
---@return string?
function vmctl.listen(where, opts) end

--- Makes a lock for tasks: `with` runs a function alone. Tasks get the lock in the order of their calls.
---@return vmctl.Lock
function vmctl.lock() end

--- Calls `fn(item, index)` for each item, all at once (or `concurrency` at a time), and waits for all.
---@param list any[]
---@param fn fun(item: any, index: integer): any the first value counts
---@param options? { concurrency: integer? }
---@return any[] results the first result of each call, in the order of the list (`n` is their number)
function vmctl.map(list, fn, options) end

--- Seconds on the monotonic clock.
---@return number seconds
function vmctl.now() end

--- Two connected streams (a Unix socket pair). Does not wait.
---@param opts? { format?: vmctl.Format|table }
---@return vmctl.Stream|nil near
---@return vmctl.Stream far or the message
---@return string? code
function vmctl.pair(opts) end

--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `start`, each with an optional `on` (its target); options by name: stdin (string, stream or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@param default? table the target of stages that name none; vmctl.host
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message
---@return string? code ETIMEDOUT, EEXIT (with check), ERESET …
---@return table? result partial
function vmctl.pipeline(stages, default) end

--- Runs functions side by side until the first returns; the others are cancelled.
---@param functions fun()[]
---@return any # ... the results of the first one
function vmctl.race(functions) end

--- Joins two streams, which it takes over, by a relay; half-close is passed on. Waits until both directions have ended.
---@param a vmctl.Stream
---@param b vmctl.Stream
---@param opts? { idle: number?, linger: number?, timeout: number? } seconds without a byte; seconds after one side has ended
---@return { a_to_b: integer, b_to_a: integer }|nil
---@return string?
---@return string?
---@return table? on failure the bytes so far
function vmctl.relay(a, b, opts) end

--- An address that plays a trace: each connection to it is the next recorded one. Does not wait; a file that can not be read
--- fails the dial. Masked values may be anything, JSON is compared by its values, all else byte by byte.
---@param path string
---@param opts? { session?: string|integer, side?: "server"|"client", strict: boolean?, timeout: number?, speed: number?, format?: vmctl.Format|table } session: one alone, by its id or by the number that trace.print shows; side: whose part is played ("server"); strict: false compares types alone; timeout: seconds for each thing that the other side is to do (10); speed: 1 keeps the recorded times, 2 takes half of them (by default it sends as soon as it may); format: of frames of a protocol that vmctl does not have
---@return vmctl.ReplayAddress address
function vmctl.replay(path, opts) end

--- Runs `fn(…)` as a task, and the loop until that task and all that it spawned have ended. Inside a task: a scope of its
--- own. May be called anywhere.
---@return any # ... what fn returned; raises its error, or the first of its tasks'. nil, message, EDEADLK when all of them wait for each other; they are cancelled then
function vmctl.run(fn, ...) end

--- Runs `fn(scope, …)` here and now; the tasks that it spawns belong to the scope. Waits until all of them have ended. When
--- one of them fails (or fn does), the others are cancelled and the first error comes out, with its traceback. The failure
--- of a cancelled task does not count; only a task that joins it gets it.
---@param fn fun(scope: vmctl.Scope, ...): ...
---@return any # ... what fn returned
function vmctl.scope(fn, ...) end

--- Waits.
---@param seconds number
---@return true|nil
---@return string?
---@return string? code ECANCELED; ETIMEDOUT when a vmctl.timeout around it ends first
function vmctl.sleep(seconds) end

--- Starts `fn(…)` as a task of the innermost scope. Does not wait; the task runs when the caller waits next.
---@param fn fun(...): ...
---@param ... any
---@return vmctl.Task task with join(timeout), cancel(), status()
function vmctl.spawn(fn, ...) end

--- As `spawn`, in a scope given by `vmctl.scope`.
---@param scope vmctl.Scope one that has not ended
---@param fn fun(...): ...
---@param ... any
---@return vmctl.Task
function vmctl.spawn_in(scope, fn, ...) end

--- Calls `fn(…)`; no wait inside it, and none of the tasks that it spawns, lasts longer than `seconds` from now. The wait
--- during which the time ends, and the next one, fail with ETIMEDOUT; one that is begun after these raises, so that code that
--- waits again and again comes to its end. In closing methods (`<close>`) waits only fail.
---@param seconds number
---@return any # ... what fn returned
function vmctl.timeout(seconds, fn, ...) end

--- A message handler for xpcall: an error that comes from a task inside keeps its traceback.
function vmctl.traceback(err) end

--- Makes a generator: a function that resumes `fn` where its last coroutine.yield left it. Waits inside it go through to
--- the task that calls it.
---@param fn fun(...): ...
---@return fun(...): ... generator
function vmctl.wrap(fn) end

--- Lets other tasks and the loop have their turn.
---@return true
function vmctl.yield() end

end

do
---@class vmctl.address
local address = {}

--- The Unix socket that a VMM gives for a virtio-serial port.
---@param path string
---@return vmctl.Address|nil
---@return string?
---@return string?
function address.chardev(path) end

--- The input and output of a child process.
---@param command string|string[] a line for the shell, or a program and its arguments
---@return vmctl.Address
function address.exec(command) end

--- An open file descriptor. The stream that is dialled from it owns it.
---@param fd integer
---@return vmctl.Address
function address.fd(fd) end

--- A function that connects. It may wait; this call does not.
---@param fn? fun(timeout: number): vmctl.Stream|nil, string?, string
---@param label? string its text in logs and errors
---@return vmctl.Address
function address.func(fn, label) end

--- A vsock port behind the Unix socket of a VMM, with the handshake of Firecracker and Cloud Hypervisor.
---@param path string
---@param port integer
---@return vmctl.Address|nil
---@return string?
---@return string?
function address.hybrid(path, port) end

--- An address as a target sees it: a TCP port or a Unix socket of the guest, or one that the guest can reach. Users call
--- `target:inside(where)`.
---@param target table whose `connect(where, timeout)` gives a stream
---@param where string|table "unix:/run/docker.sock", "tcp:127.0.0.1:80"
---@return vmctl.Address|nil
---@return string?
---@return string? code EINVAL, ENAMETOOLONG
function address.inside(target, where) end

--- Tells if a value is an address object.
---@param value any
---@return boolean
function address.is_address(value) end

--- Makes an address from a string, a table of its fields (`{ kind = "tcp", host = "::1", port = 80 }`), a function or
--- an address. Raises at the caller's line for anything else and for unknown fields.
---@param where string|table|function|vmctl.Address
---@return vmctl.Address|nil
---@return string? message
---@return string? code "EINVAL"
---@return "ENAMETOOLONG"
function address.parse(where) end

--- A character device or a virtio port.
---@param path string
---@return vmctl.Address|nil
---@return string?
---@return string?
function address.serial(path) end

--- A TCP address: a name, an IPv4 or an IPv6 address (without brackets), and a port (0 to listen on any).
---@param host string
---@param port integer
---@return vmctl.Address
function address.tcp(host, port) end

--- The address of a Unix socket: at most 107 bytes; "@NAME" in the abstract namespace.
---@param path string
---@return vmctl.Address|nil
---@return string?
---@return string?
function address.unix(path) end

--- A vsock address: a CID of 32 bits, "host", "local", "hypervisor" or "any", and a port of 32 bits or "any".
---@param cid integer|string
---@param port integer|string
---@return vmctl.Address
function address.vsock(cid, port) end

end

do
---@class vmctl.cc
---@field HEADER_SIZE integer
---@field MAX integer
---@field codes table
---@field format userdata
---@field may_block table
---@field mode table
---@field names table
---@field sources table
---@field types table
local cc = {}

--- A client of a connected stream.
---
--- Makes a client of a connected stream, which it takes. Does not wait.
---@param stream vmctl.Stream
---@param opts? { timeout: number?, long_timeout: number?, max_payload: integer? } seconds for a call (60), and for one that may block (an hour); bytes of a payload, either way (64 MiB)
---@return vmctl.CcClient
function cc.client(stream, opts) end

--- A client that connects to a helper's socket. Waits.
---
--- Connects to a helper that runs already: one attempt. Waits.
---@param where string|table the path of its socket, or an address
---@param opts? table as for `new`, and dial_timeout (seconds, 10)
---@return vmctl.CcClient|nil
---@return string?
---@return string? as vmctl.dial
function cc.connect(where, opts) end

--- A decoder of a payload.
---@param bytes string
---@param at? integer where it begins, 1 by default
---@return vmctl.CcDecoder
function cc.decoder(bytes, at) end

--- An empty encoder.
---@return vmctl.CcEncoder
function cc.encoder() end

--- Finds the helper.
---
--- Looks for the helper: $CC_HELPER_PATH, beside the running program, beside a library, in the user's own folder, in PATH. It
--- must be a file that can be executed. Does not wait.
---@param library? string the file, not the folder, of a library
---@return string|nil path absolute
---@return string? message
---@return string? code ENOENT
---@return string[]? searched the paths tried
---@return "$PATH" last
function cc.find_helper(library) end

--- A router without handlers: it answers each request with "unknown message type".
---@return vmctl.CcRouter
function cc.mux() end

--- Lets use_helper read the environment again; returns nothing.
---
--- Forgets the result of use_helper, so that $CC_USE_HELPER is read again.
function cc.reset_use_helper() end

--- An empty builder with the methods of an encoder.
---@return vmctl.CcResponse
function cc.response() end

--- A server on a Unix socket.
---
--- Makes a server. Its socket has mode 0600. A dead server's socket at the path is replaced; a live server's is not. Does not wait.
---@param path? string of a Unix socket; nil: none, for `converse` and for listeners of other kinds
---@param handler function|vmctl.CcRouter handler(type, payload, context) as described at vmctl.cc.router; requests of one connection are handled one after the other. A handler of a request that may block (vmctl.cc.may_block) is cancelled when its client goes away; an error that it raises goes to the log and is answered with code 99
---@param opts? { allow?: function|table, connections: integer?, max_payload: integer?, on_idle: function? } who may connect (see vmctl.net.access), how many at a time (1024; others wait), bytes of a payload (64 MiB), called when the last connection has ended
---@return vmctl.CcServer|nil server with serve, serve_one, converse, socket_path, close
---@return string?
---@return string? code EADDRINUSE: another process listens there, or it is no socket; ENAMETOOLONG, EACCES …
function cc.server(path, handler, opts) end

--- A unique path for a helper's socket.
---
--- A path for a helper's socket: another one at each call. It is safer to bind in a private folder, as `spawn` does.
--- Does not wait.
---@param folder? string $TMPDIR or /tmp by default
---@return string
function cc.socket_path(folder) end

--- Starts a helper and connects to it. Waits.
---
--- Starts a helper as `PROGRAM -socket PATH` and connects to it; the socket is in a folder of this user's own. It sends no
--- message: the machine is booted by client:instance. Waits until the helper listens.
---@param opts? { helper: string?, library: string?, arguments: string[]?, env: table?, cwd: string?, stderr?: string|integer, ready_timeout: number?, timeout: number?, long_timeout: number?, max_payload: integer? } the program, found by vmctl.cc.find_helper (with `library`) by default; arguments after the protocol's two; options of its process, see vmctl.process; seconds until it must listen (10); the rest as for vmctl.cc.client
---@return vmctl.CcClient|nil client whose `close` ends the helper
---@return string? message
---@return string? code ENOENT: no helper, the fourth value lists the paths tried; EEXIT: it ended, the fourth value is its status; ETIMEDOUT, ECANCELED, EACCES …
---@return table? more
function cc.spawn(opts) end

--- Tells if the environment asks for a helper.
---
--- Tells if $CC_USE_HELPER asks to run machines in a helper. Reads it once. Unset, or any other text than a yes: false. The
--- caller decides what to do.
---@return boolean
function cc.use_helper() end

end

do
---@class vmctl.cc_helper
local cc_helper = {}

--- Makes a helper. Does not wait.
---@param opts? { root: string?, kernel: string?, modules_dir: string?, agent: string?, cache_dir: string?, most_handles: integer?, boot_timeout: number?, launch: table?, on_output: fun(bytes: string)? } root: the folder that is the instance; else the parts of guests: the kernel (without it $VMCTL_KERNEL, then build/kernel/vmlinuz), the folder of its modules, the static agent; launch: further options of vmctl.machine.launch. cache_dir: where snapshots are kept when a request names no place; most_handles: of a kind (1024); boot_timeout: seconds (120); on_output: gets the output of InstanceExec's program, as it comes
---@return vmctl.CcHelper|nil
---@return string?
---@return string?
function cc_helper.new(opts) end

end

do
---@class vmctl.clock
local clock = {}

--- Tells if the clock is a virtual one now.
---@return boolean
function clock.is_virtual() end

--- Runs `fn` on a virtual clock, for all tasks of this Lua state, and gives its results; its error passes, and the clock is a
--- real one again in each case. Waits as `fn` does.
---@param fn function
---@param opts? { grace: number? } real seconds that descriptors get before each leap (0.01): 0 where no other process takes part
---@return any # ...
function clock.virtual(fn, opts) end

end

do
---@class vmctl.config
local config = {}

--- Brings a guest into a declared state. The set is validated before the first step, so an invalid one changes nothing. The order
--- is: groups, users, mounts (later paths may be on them), files, ssh keys, secrets, units, and the configuration last, because the
--- guest acts on it at once. Steps are idempotent. Waits.
---
--- Users and groups that are there stay, and get the groups that they lack; false in place of the table removes them. Units are read by
--- the guest's systemd before anything is changed (systemd-analyze verify): one with a line that it would ignore is refused. All are
--- written, then enabled, started, and waited for; a changed one that is active is started again, and one that does not come up is a
--- failure with the tail of its journal.
---
--- Secrets are kept in the guest's memory, are masked in the log during the push, and are in no error. The
--- configuration is a file that every user of the guest may read: [secrets] is removed from it, unless `keep_secrets` is set.
---
--- The control plane does the steps that it knows; files and other steps go through commands, if the target runs any. Commands
--- compare contents in the guest, receive them on standard input, and replace files as a whole, with owner and mode. The limits of
--- a shell are in vmctl.config.shell_scripts.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.StereosClient|table a machine, a client, vmctl.host, or { exec =, stereos = }
---@param set { groups: table?, users: table?, units: table?, files: table?, secrets: table?, ssh_keys: table?, mounts: table?, config: string? } groups: a map from name to { gid =, system = }. users: a map from name to { uid =, groups =, home =, shell =, system = }. units: a map from name to a text or { content = or sections, enable =, start =, runtime = }. files: a list of { path =, content = or source = (a file here), mode =, owner = "user:group" } or a map from path to content or to the rest of such a table; without mode and owner an old file keeps its own. secrets: a map from name to value or { value =, mode = }. ssh_keys: a map from user to a key or a list of keys: the user gets no others. mounts: a list of { tag =, guest_path =, fs_type = "virtiofs" or "9p", read_only = }. config: the jcard.toml
---@param opts? { timeout: number?, dry_run: boolean?, keep_secrets: boolean?, keep_going: boolean?, jcard_apply: boolean?, on_step: function?, root: string? } seconds for all (120); dry_run: check, compare with what the guest has, and change nothing; keep_going: do the steps behind one that failed as well; jcard_apply: apply the configuration's [secrets], with ${VAR} of this environment, and [[shared]], as 9p of the tags share0, share1 …, as the reference's host does; on_step(step) is called after each; root: a folder of the guest that is taken for its / (of an image that is being built, for example), through commands only
---@return { changed: boolean, steps: table[], notes: string[], target: string, planned: boolean? }|nil report each step: kind, name, changed (nil: the guest does not say), via ("stereos" or "exec"), seconds, note; tostring gives text for people
---@return string? message
---@return string? code EINVAL, ETOOBIG, EREMOTE (with the guest's message), ENOTSUP, ETIMEDOUT …
---@return table? report up to the failed step: `failed` has message and code, and kind and name if a step failed; `failures` lists all failed steps. A mount that this client has done before stays as it was. One that a guest without commands refuses, and which may be there already, is a failure that does not end the push
function config.push(where, set, opts) end

end

do
---@class vmctl.doctor
local doctor = {}

--- Checks everything. Waits for QEMU's answers, at most some seconds for each.
---@param opts? { path: string?, build: string? } path: directories of programs (PATH); build: the folder of `make` (the core's)
---@return vmctl.DoctorFinding[]
function doctor.check(opts) end

--- Writes the findings of `check` for a person, with advice below each problem. Waits as `check` does.
---@param out? { write: fun(self, text: string) } standard output by default
---@param opts? table of `check`, or `findings` that were made elsewhere
---@return true|nil ok all that guests need is there
---@return string? message
---@return string? code ENOENT
---@return vmctl.DoctorFinding[]? lacking
function doctor.report(out, opts) end

--- Checks a root before a guest of it is started: its contents, and how it would start. Waits for a guest that looks into it.
---@param what string as `root` of vmctl.machine.launch
---@param opts? { kernel: string?, modules_dir: string?, agent: string?, cache_dir: string? } as of vmctl.machine.launch
---@return vmctl.DoctorFinding[]
function doctor.root(what, opts) end

end

do
---@class vmctl.errors
---@field codes table The codes, in the order in which a table of them should show them: each with its name and one line of meaning. A call may return any other errno name as well, as the kernel gave it.
local errors = {}

--- The three values of a failure: `return errors.fail("EPROTO", "read frame: type %d is unknown", type)`.
---@param code string
---@param text string the message, a format when arguments follow
---@return nil
---@return string message
---@return string code
function errors.fail(code, text, ...) end

--- A text with each secret in it replaced by "***": as it is, and as JSON spells it; one of less than four bytes only between
--- quotes, behind "=", or when it begins the text. Does not yield.
---@param text string
---@param secrets string[] in any order; empty ones are skipped
---@return string
function errors.mask(text, secrets) end

--- The one-line meaning of a code, or nil when it is not in the table.
---@param code string
---@return string?
function errors.meaning(code) end

--- Tells if a failure means "not yet", so that the same step may be repeated.
---@param code? string
---@param phase "connect"|"send"|"request" connect: up to the first answer, handshakes included; send: no byte of a message has left yet; request: later
---@param transport? string the address's kind ("tcp", "unix", "vsock" ...)
---@return boolean
function errors.retryable(code, phase, transport) end

--- The time that was waited, for the message of a time-out: a limit around the call may have ended it before its own.
---@param limit number seconds: the call's own
---@param waited number seconds that have passed
---@return string # "within 10 s"
function errors.within(limit, waited) end

--- Puts context in front of a failure's message: `return errors.wrap("call ping", self:_receive(deadline))`.
--- A success goes through unchanged. Does not yield.
---@param context string the operation, and its target
---@param ... any the results of the inner call: values, or nil, message, code, extra
---@return any # ... the results, or nil, context .. ": " .. message, code, extra
function errors.wrap(context, ...) end

end

do
---@class vmctl.exec
---@field FILES_PORT integer
---@field PORT integer
---@field READY_PORT integer
---@field format userdata
---@field types table
local exec = {}

--- A client for the agent at an address. Does not wait.
---
--- A client for the exec agent at an address. Does not connect yet; each command has a connection of its own.
---@param where string|table|function e.g. "vsock:3:5000", "hybrid:/run/vm.sock:5000", "unix:/run/agent.sock"
---@param opts? { timeout: number?, dial_timeout: number?, revision: string? } seconds for a command (600) and for a connection (10); the agent's revision, if it is known: "vmctl", "0.2" or "0.1.9" (else the client finds out)
---@return vmctl.ExecClient|nil
---@return string?
---@return string? code EINVAL
function exec.client(where, opts) end

--- A payload under four bytes carries no exit code: that is an error, never 0. So is a code that no command can have.
---@return integer|nil code
---@return integer|string? signal or the message
---@return string|{ lingering: true?, error: string? }|nil added or the code of the failure
function exec.decode_exit(payload) end

--- Decodes and checks a request.
---@param text string
---@return table|nil request
---@return string?
---@return string? code EPROTO
function exec.decode_request(text) end

--- Fewer than four bytes are ignored, of more the first four count.
---@return integer|nil rows
---@return integer? cols
function exec.decode_resize(payload) end

--- Decodes an ExecResponse; absent members mean empty. exit_code is signed.
---@param text string
---@return { exit_code: integer, stdout: string, stderr: string, error: string, signal: integer?, lingering: true? }|nil
---@return string?
---@return string? code EPROTO
function exec.decode_response(text) end

--- Exit: a code of 32 bits, two's complement. Ours adds bytes that others ignore: the signal (0: none), then flags and, of a command
--- that could not be started or whose end was not seen, the reason.
---@param code integer
---@param signal? integer
---@param more? { lingering: boolean?, error: string? }
---@return string payload
function exec.encode_exit(code, signal, more) end

--- Encodes a request from a table with the JSON's names: command, working_dir, env, user, rows, cols. Members of our own,
--- ignored by other agents: argv_b64, env_b64 (exact bytes, base64), token (see CLOSE_OUTPUT), keep (see vmctl.process.job).
---@param request table
---@return string|nil json
---@return string?
---@return string? code EINVAL
function exec.encode_request(request) end

--- Resize: u16 rows, u16 columns.
---@return string payload
function exec.encode_resize(rows, cols) end

--- Encodes an ExecResponse. stdout and stderr are bytes, or nil for null (never started, or streamed).
---@param response { exit_code: integer, stdout: string?, stderr: string?, error: string?, signal: integer?, lingering: boolean? } signal and lingering (a process can still write to its output, see vmctl.process.job) are ours
---@return string json
function exec.encode_response(response) end

--- Serves the agent's side on a listener.
---
--- Serves commands, files and port forwards until the listener is closed, and then ends everything that still runs. Waits;
--- run it as a task beside others.
---@param listener vmctl.Listener anything with accept() and close()
---@param opts? { allow?: function|table, connections: integer?, env: table?, root: string?, request_timeout: number?, on_idle: function?, on_ready: function?, packs: boolean? } peers that may connect (see vmctl.net.access), how many at a time (1024), additional environment, the folder that file requests see as "/"; on_idle is called when the last connection has ended; on_ready(request) handles the members of our hosts' Ready message, and returns those of its answer; packs: the program packs and unpacks files with --pack and --unpack (docs/wire/exec.md)
---@return true|nil
---@return string?
---@return string? code ECANCELED
function exec.serve(listener, opts) end

--- Serves the readiness port: accepts and closes at once. Waits.
---
--- Serves the readiness port: a completed connection is the message.
---@return true|nil
---@return string?
---@return string? code ECANCELED
function exec.serve_ready(listener, opts) end

end

do
---@class vmctl.files
local files = {}

--- Copies a file, or a folder with its content, out of a guest, which is not trusted: links below the destination are not followed,
--- set-user-id bits are dropped, and of extended attributes (`xattrs`) all but user.*; devices are left out, and an entry of another
--- type than the guest has announced is refused. Missing parent folders are made, and each file is renamed to its path. A tar
--- other than GNU's, where there is no agent of ours, has no times before 1970. Waits.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.CcInstance
---@param source string a path in the guest
---@param destination string of this machine, as for `push`; a link there, or on the way to it, is refused (ELOOP) unless `follow` is set; root's links at the top, such as /var/run, are allowed
---@param opts? table as for `push`, and follow; owner: "keep" (the default for root: as in the guest) or "mine"; max_bytes: 64 GiB, max_entries: 1,000,000; exclude is for `push` alone
---@return table|nil report as for `push`
---@return string?
---@return string?
function files.pull(where, source, destination, opts) end

--- Copies a file, or a folder with its content, into a guest. As with `cp -r`, an existing folder as destination receives the copy
--- under its own name; any other destination is the copy's path. Missing parent folders are made. Files are staged beside their
--- destination and renamed one by one; after a failure the old files are still there. Modes, owners, times to the nanosecond, hard
--- links and holes are kept by an agent of ours and by GNU tar; another tar in the guest has no fractions of seconds, no holes and no
--- times of links, and a helper's protocol in addition no hard links. With `xattrs`, attributes are kept as well: user.*, access
--- lists, and file capabilities unless the owner is "target"; one that the guest cannot keep is a failure. Devices, FIFOs and sockets
--- are left out. An owner that cannot be kept is refused. Files that change or vanish meanwhile are reported, and the copy continues.
--- Waits.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.CcInstance with our agent or tar, and sha256sum; or with a cc helper
---@param source string of this machine
---@param destination string a path in the guest
---@param opts? { timeout: number?, verify: boolean?, owner: string?, exclude?: string[]|function, exact: boolean?, on_progress: function?, max_bytes: integer?, max_entries: integer?, xattrs: boolean? } seconds (3600); whether check sums are compared (they are); "keep" (the default: owners as here) or "target" (the user of the agent; no set-user-id bits then); Lua patterns of names to leave out, or a function of "/path/below"; exact: `destination` is the copy's own path, also if that is a folder, into which it is then merged; called as on_progress(report, path); xattrs: extended attributes are kept, for which the guest needs our agent or GNU tar
---@return { files: integer, directories: integer, links: integer, bytes: integer, seconds: number, verified: integer?, skipped: string[], changed: string[], vanished: string[], path: string }|nil report `skipped`: sockets, devices, FIFOs; `changed`: files that were written to while they were copied, `vanished`: files that were gone (10,000 of each at most)
---@return string? message
---@return string? code ENOENT, EINVAL: a FIFO or a socket, EEXIST: a device, a FIFO or a socket is at the destination, EREMOTE: tar's own message, EBADMSG: check sums differ, ETOOBIG: more than max_bytes or max_entries, EOVERFLOW: an owner that cannot be kept, ENOTSUP: no extended attributes here, ETIMEDOUT, ERESET, or the code of a failed read
function files.push(where, source, destination, opts) end

end

do
---@class vmctl.fleet
local fleet = {}

--- Calls `ask(target, i)` for each target every `every` seconds, in a task, at a time of the interval that is the target's own. It may
--- wait, and should have a time-out; nil, message, code is a failed poll, anything else an answer. A target whose last poll has not ended
--- when it is due is left out, and counted. Waits until the rounds are done, or until it is cancelled; an error of a function comes out.
---@param targets any[]
---@param ask? fun(target: any, i: integer): any, string?, string
---@param opts? { every: number?, rounds: integer?, late: number?, workers: integer?, on_answer: function?, on_failure: function? } every: seconds (1); rounds: how often each is asked (for ever); late: seconds (0.1) from when a poll was due until its answer, above which it counts as late; workers: polls at a time, at most (1,000); on_answer(target, value, seconds) and on_failure(target, message, code, times) are called with each answer, and must not wait; times: failures of it in a row
---@return { polls: integer, failed: integer, late: integer, skipped: integer, workers: integer, p50: number, p99: number, worst: number }|nil totals p50, p99, worst: seconds from when polls were due to their answers, to 5 %
---@return string? message
---@return string? code ECANCELED, ETIMEDOUT (a time limit around it)
function fleet.poll(targets, ask, opts) end

--- Makes one. Does not wait.
---@param opts? { write: fun(text: string)?, terminal: boolean?, every: number? } write: to standard error by default; terminal: whether that is one (it is looked at); every: seconds between two lines (0.1 on a terminal, else 10)
---@return vmctl.FleetProgress
function fleet.progress(opts) end

--- Changes targets in waves: `apply(target)` for each of a wave, side by side, then `check(target)` for those, and only then the next
--- wave. A failure in the first wave (the canary) ends it all; later `stop_after` failures do. Then no target begins any more; those
--- that have begun come to their end. Waits as the functions do; an error of one of them comes out.
---@param targets any[]
---@param apply? fun(target: any): any, string?, string nil, message, code (or false): it has failed. May wait
---@param opts? { waves: (integer|string)[]?, concurrency: integer?, stop_after: integer?, check: function?, settle: number?, name: function?, progress: vmctl.FleetProgress?, on_wave: function? } waves: how many are changed when each ends, as a number or a share ({ 1, "10%", "50%", "100%" }); concurrency: at a time (100); stop_after: failures (1); check: is it well? As `apply`; settle: seconds (0) before that; name(target): for messages; progress: of `fleet.progress`; on_wave(number, outcome): is called at the end of each
---@return { done: any[], failed: { target: any, message: string, code: string }[], untouched: any[], waves: integer }|nil outcome a target that was changed and is not well is in `done` and in `failed`
---@return string? message
---@return string? code that of the first failure; ECANCELED
---@return table? outcome where it was stopped
function fleet.waves(targets, apply, opts) end

end

do
---@class vmctl.instance
local instance = {}

--- Builds an image by a Dockerfile with buildah, whose output goes to the standard error, and keeps it under a name. An image that has
--- this name already is replaced. Waits.
---@param context string the folder that the Dockerfile copies from
---@param name string
---@param opts? { file: string?, args: string[]?, isolation: string?, cache: string?, arch: string? } file: the Dockerfile (that of the folder); args: NAME=VALUE for its ARG; isolation: buildah's "oci", "rootless" or "chroot"
---@return { name: string, digest: string, created: integer }|nil image
---@return string?
---@return string? code ENOENT: no buildah, no folder, no Dockerfile; EREMOTE: buildah failed; as vmctl.rootfs.image
function instance.build_image(context, name, opts) end

--- Creates an instance.
---
--- The failure of making an instance that exists. Does not wait.
---@return true|nil
---@return string?
---@return string?
function instance.create(name, opts) end

--- The images of this user, those with a name first. Waits for the file system alone.
---@return { name: string?, digest: string, size: integer, created: integer, from: string, used_by: string[], path: string }[]|nil name: nil of an image that only the cache has, which may be made anew from `from`; size: bytes on the disk; created: seconds of the epoch; used_by: instances
---@return string?
---@return string?
function instance.images() end

--- Imports an OCI layout (a folder or an archive), an archive of `docker save`, a folder or an archive of a root file system, and keeps it
--- under a name. Waits.
---@param path string
---@param name? string that of the file, without its ending, by default
---@param opts? { replace: boolean?, cache: string?, arch: string? } replace: an image that has this name already loses it
---@return { name: string, digest: string, created: integer }|nil image
---@return string?
---@return string? code EEXIST: another image has this name; ENOENT, EINVAL; as vmctl.rootfs.image
function instance.import_image(path, name, opts) end

--- The instances of this user, by their names. Waits for the file system alone.
---@return { name: string, state: string, created: integer, since: integer?, root: string, digest: string?, pid: integer?, error: string? }[] list state: "created"
---@return "starting"
---@return "running"
---@return "stopped" or "failed"; error: why it has failed; since: seconds of the epoch; root: what it was made of; digest: of its image; pid: QEMU's
function instance.list() end

--- Opens an instance that runs: a client for its commands and files. Does not wait.
---
--- A client for the agent at an address. Does not wait.
---
--- A client for the exec agent at an address. Does not connect yet; each command has a connection of its own.
---@param name string
---@return vmctl.ExecClient|nil
---@return string?
---@return string? code ENOENT: there is none, or it does not run; EACCES
function instance.open(name) end

--- Pulls an image of a registry by skopeo, and keeps it under its name. An image that has this name already is replaced by the
--- registry's present one. Waits.
---@param name string as "debian:12" or "localhost:5000/tool:1"
---@param opts? { cache: string?, arch: string? } as for vmctl.rootfs.image
---@return { name: string, digest: string, created: integer }|nil image
---@return string?
---@return string? code ENOENT: no skopeo; EPROTO: its message
function instance.pull_image(name, opts) end

--- Removes an instance with all its writes. Waits.
---@param name string
---@param opts? { force: boolean? } stops it before that if it runs
---@return true|nil
---@return string?
---@return string? code ENOENT; EBUSY: it runs
function instance.remove(name, opts) end

--- Removes an image: its name, and with its last name the image itself, also from the cache. One that an instance was made of, or that a
--- guest runs with, stays. Waits.
---@param reference string its name, its digest or six digits of it, or what an image without a name was made of
---@return { name: string?, digest: string, freed: boolean }|nil removed freed: the image has gone, and not only one of its names
---@return string? message
---@return string? code ENOENT, EBUSY (the message names the instances), EINVAL: several are meant
function instance.remove_image(reference) end

--- Starts an instance, and waits until its guest is ready. It goes on when this process ends.
---@param name string
---@param opts? { timeout: number?, target: "agent"|"system"|nil } timeout: seconds in which the guest has to be ready, 120 by default; target: as for wait_ready of a machine
---@return { name: string, pid: integer, folder: string, ready: number }|nil started pid: QEMU's; folder: of its sockets; ready: seconds
---@return string? message
---@return string? code ENOENT: there is none; EBUSY: it runs already, or its disk is used; ETIMEDOUT; as vmctl.machine.launch
function instance.start(name, opts) end

--- Powers an instance off, and waits for its end.
---@param name string
---@param opts? { timeout: number? } seconds, 30 by default
---@return true|nil
---@return string?
---@return string? code ENOENT: there is none, or it does not run; ETIMEDOUT; EREMOTE: its power-off has failed
function instance.stop(name, opts) end

end

do
---@class vmctl.json
---@field null userdata JSON's null. It is not nil, and true in a condition.
local json = {}

--- Marks a table as a list, so that it is `[]` when empty. Raises when it has members that are no list entries.
---@param tbl? T a new table when left out
---@return T tbl the same table
function json.array(tbl) end

--- Decodes one JSON text. Does not yield.
--- Integers come back as Lua integers (as floats outside 64 bits), all other numbers as floats. A null member of an
--- object is left out; in a list, and alone, it is `json.null`. Lists are marked, so that an empty one stays a list.
--- Raises when `text` is no string.
---@param text string one value, at most 100 levels deep, in UTF-8; of two equal keys the last counts
---@return any value nil on failure
---@return string? message
---@return string? code "EPROTO"
function json.decode(text) end

--- Encodes one value as JSON text on one line. Does not yield.
--- A table is a list when its keys are 1 to n, else an object, unless `json.array` or `json.object` has marked it; other
--- metatables are ignored. Integers are written in full, floats with as many digits as they need (3.0 as 3).
---@param value any strings must be UTF-8; nil, functions, NaN, infinity, lists with holes and cycles are refused
---@return string? text
---@return string? message
---@return string? code "EINVAL"
function json.encode(value) end

--- Tells if a value is a list: marked as one (each list that `json.decode` returns is), or not empty and from 1 on.
---@param value any
---@return boolean
function json.is_array(value) end

--- Tells if a text that should be a few long strings may be very many values, which would take thirty times its bytes in memory: its
--- commas and brackets are counted, those in its strings too. Does not yield.
---@param text string
---@param most? integer values (262,144)
---@return boolean
function json.is_crowded(text, most) end

--- Marks a table as an object, so that it is `{...}` even when its keys are 1 to n. Integer keys become strings.
---@param tbl? T a new table when left out
---@return T tbl the same table
function json.object(tbl) end

end

do
---@class vmctl.l2
local l2 = {}

--- Connects to the control socket of a switch (`switch:control`, `vmctl switch --control`). Waits.
---
--- Connects to the control socket of a switch. Waits.
---@param where string|table|function "unix:PATH"
---@param opts? { timeout: number? } seconds (10)
---@return vmctl.L2ControlClient|nil
---@return string?
---@return string?
function l2.control(where, opts) end

--- Connects to a QEMU that listens (`-netdev stream,server=on`, `-netdev socket,listen=`), or to a port of ours. Waits.
---@param where string|table|function "tcp:HOST:PORT", "tcp4:…" and "tcp6:…" (of that family alone), "unix:PATH", and all others that vmctl.dial takes
---@param opts? number|{ timeout: number? } seconds (10)
---@return vmctl.L2Port|nil
---@return string?
---@return string?
function l2.dial(where, opts) end

--- Listens for QEMUs that connect (`-netdev stream`, `-netdev socket,connect=`). Waits only to resolve a name.
---@param where string|table "tcp:HOST:PORT", "tcp4:…", "tcp6:…", "unix:PATH" …
---@param opts? { backlog: integer?, mode: integer?, allow?: function|table } mode: of a Unix socket's file (0600); allow: see vmctl.net.access
---@return vmctl.L2Listener|nil
---@return string?
---@return string?
function l2.listen(where, opts) end

--- Makes a port of a connected stream, which it takes over; QEMU may have the other end of its descriptor, for instance.
---@param stream vmctl.Stream
---@return vmctl.L2Port
function l2.port(stream) end

--- Two ports with a wire between them. Does not wait.
---@return vmctl.L2Port|nil near
---@return vmctl.L2Port far or the message
---@return string? code
function l2.socketpair() end

--- Makes a switch.
---
--- Makes a switch. It works until it is closed. Does not wait.
---@param opts? { seed: integer?, age: integer?, queue: integer?, memory: integer?, longest: integer?, name: string?, faults: vmctl.L2Faults?, thread: boolean? } seed: of the faults (random by default: see `seed`); age: seconds after which an address that was not heard is forgotten (300; 0: learn nothing, flood everything); queue: bytes that may wait for a port (1 MiB; with less than 512 KiB a burst can lose frames even if the port reads); memory: bytes that may wait for all ports, and as many of delayed frames (64 MiB each; a port or a direction has as much as is left); longest: bytes of a frame to a port; longer ones are dropped, and counted (65535, which all peers take; QEMU takes 69632); name: for the log; faults: those of every new port, until its `faults` are set; thread: frames pass in a thread of its own, so that a script which does not come back to its loop (`os.execute`, a long computation) stalls no guest. Listeners, diallers, taps and events of the switch still need the script's loop, and a virtual clock does not drive that thread (false)
---@return vmctl.L2Switch
function l2.switch(opts) end

end

do
---@class vmctl.log
local log = {}

--- The time in front of each line, in seconds, or nil for none. The core puts its clock here.
function log.clock() end

--- Each message of each protocol.
---@param text string
---@param ... any
function log.debug(text, ...) end

--- Tells if lines of a level are shown: `if log.enabled "debug" then log.debug(expensive()) end`.
---@param name "error"|"info"|"debug"
---@return boolean
function log.enabled(name) end

--- A failure that the user should see. Does nothing when the level is off, as the other two.
---@param text string
---@param ... any
function log.error(text, ...) end

--- Hides a secret: from now on lines show "***" in its place. Empty text is ignored.
---@param secret string
function log.hide(secret) end

--- An event of ordinary operation.
---@param text string
---@param ... any
function log.info(text, ...) end

--- Tells if lines go to a terminal. The core puts its own function here.
---@return boolean
function log.isatty() end

--- The end of a program's output, for a message: as `sanitize`, without the white space at its end.
---@param bytes string
---@param limit? integer bytes (400)
---@return string
function log.last_words(bytes, limit) end

--- A text with all hidden secrets masked.
---@param text string
---@return string
function log.mask(text) end

--- Foreign bytes as one line: as `sanitize`, with \n and \t for line feeds and tabs.
---@param bytes string
---@param limit? integer show only the first so many bytes of it, and say how many were cut
---@return string
function log.one_line(bytes, limit) end

--- Shows progress in one line that the next one replaces; only on a terminal. nil wipes it.
---@param text? string
function log.progress(text) end

--- Makes foreign bytes safe to show: terminal sequences are removed, other control bytes and invalid UTF-8 become visible
--- (\x07). Line feeds and tabs stay, and the pair CR LF counts as a line feed.
---@param bytes string
---@param limit? integer show only the last so many bytes of it, and say how many were cut
---@return string
function log.sanitize(bytes, limit) end

--- Sets the level: "off", "error", "info" or "debug". Until then VMCTL_LOG's counts.
---@param name "off"|"error"|"info"|"debug"
function log.set_level(name) end

--- Undoes one `hide`; the secret shows again when each was undone.
---@param secret string
function log.unhide(secret) end

--- The function that writes lines; tests put another one here.
---@param text string
function log.write(text) end

end

do
---@class vmctl.machine
---@field image table Builds guest images; see vmctl.machine.image.
---@field image vmctl.machine.image
local machine = {}

--- Connects to another machine, for the guests that `on` places there: they share the connection. Waits.
---
--- Connects. Waits until vmctl has answered there.
---@param on string|vmctl.RemoteWhere
---@return vmctl.RemoteHost|nil
---@return string?
---@return string? as vmctl.remote.host has it
function machine.host(on) end

--- Starts a guest. Waits only until QEMU runs, and while an image or a file system for its root is made; `wait_ready` waits for the guest.
---
--- Starts a guest on another machine. Waits until its QEMU runs there; the first time, while its files are sent.
---@param opts vmctl.MachineOptions
---@return vmctl.Machine|nil vm
---@return string?
---@return string? code ENOENT (no QEMU, no kernel), EBUSY: another guest uses its disk; EINVAL …
function machine.launch(opts) end

end

do
---@class vmctl.machine.image
---@field MODULES_LIST string The file in a guest that lists its modules, one path a line. The agent reads it (src/agent/init.c).
---@field default_modules table The modules for reaching a guest and for its host's folders, in the order of loading; those that the kernel has built in or lacks are left out.
local image = {}

--- Builds an image. The modules are in /lib/modules/vmctl/NN-NAME.ko; /etc/vmctl/modules lists them, one path a line,
--- in the order of loading. Waits.
---@param opts vmctl.ImageOptions
---@return string? path
---@return string? message
---@return string? code
function image.build(opts) end

--- The modules that have to be loaded, in order: the default ones that exist, those asked for, and all that they need. Waits.
---@param dir string a copy of /lib/modules/VERSION
---@param wanted? string[] names beyond M.default_modules
---@return { name: string, bytes: string }[]?
---@return string?
---@return string?
function image.modules(dir, wanted) end

end

do
---@class vmctl.mux
---@field PORT_NAME string The virtio-serial port's name.
local mux = {}

--- Begins a session over a transport to the guest. Waits for the guest's answer.
---@param transport vmctl.Stream which it takes over
---@param timeout number seconds
---@return vmctl.Mux|nil mux with connect(port, timeout), ping, close
---@return string?
---@return string?
function mux.connect(transport, timeout) end

--- The guest's side.
---@return vmctl.MuxServer server with listen(port) and run(transport)
function mux.server() end

end

do
---@class vmctl.process
local process = {}

--- The environment of this process.
---@return table<string, string>
function process.environment() end

--- Starts a process. Does not wait.
---@param command table the program and its arguments, and options by name: cwd, env (added to ours, false for one of ours that it shall not have; alone with clear_env), stdin, stdout, stderr ("pipe", "null", "inherit", "stdout" for stderr, or an fd), tty with rows and cols, user ("name", "uid", "uid:gid"), group (default true), session, death_signal, sweep (kill the rest of its group at its end), contain (in a cgroup of its own, where that is possible: all processes in it are killed with its group), confine (without capabilities, also as root, without a way to get more, and without core dumps), landlock (with confine: the descriptor of rules that it takes on), open_files (at most), groups (with user: the numbers of its supplementary groups, instead of those it has), fds (an array of at most 29 more descriptors: its 3, 4, …). Raises for a NUL byte in an argument, a variable, cwd or file
---@return vmctl.Child|nil child with stdin, stdout, stderr (streams), pid, wait, kill, sweep, close
---@return string? message
---@return string? code
---@return string? step that failed: exec, chdir, user, pipe, fork, setuid …
function process.spawn(command) end

--- A command whose stdin and stdout are one stream: the address `exec:`. Its end is the end of the stream; closing the
--- stream closes its stdin, and the process is ended with it.
---@return vmctl.Stream|nil
---@return string?
---@return string?
function process.stream(argv, label) end

end

do
---@class vmctl.protobuf
---@field available boolean True if vmctl/pb.so could be loaded.
local protobuf = {}

--- The fields of a message. Its memory is bounded by about thirty times the bytes. Does not wait.
---@param name string the message's full name
---@param bytes string
---@param slot? string a field of bytes that holds another message, and becomes a table, unless it is empty
---@param inner? string that message's full name
---@return table|nil fields
---@return string? message
---@return string? code EINVAL (no such message), EPROTO (malformed bytes, a text that is not UTF-8, messages nested too deep, or far too many of them), ENOTSUP
function protobuf.decode(name, bytes, slot, inner) end

--- The bytes of a message. Does not wait.
---@param name string the message's full name: "ttrpc.Request"
---@param fields table
---@param slot? string a field of bytes that gets another message
---@param inner? string that message's full name
---@param inner_fields? table
---@return string|nil bytes
---@return string? message
---@return string? code EINVAL (no such message, or a field that does not fit, which the text names), ENOTSUP
function protobuf.encode(name, fields, slot, inner, inner_fields) end

--- Tells if a message is known.
---@param name string its full name
---@return boolean|nil exists
---@return string? message
---@return string? code ENOTSUP
function protobuf.exists(name) end

--- The fields of a message, in the order of the numbers.
---@param name string its full name
---@return vmctl.ProtobufField[]|nil fields
---@return string? message
---@return string? code EINVAL (no such message), ENOTSUP
function protobuf.fields(name) end

--- Adds your own messages, known in this Lua state only, from one of three:
---
---   * a descriptor set, as `protoc --include_imports --descriptor_set_out=agent.pb agent.proto` writes it: no compiler is needed.
---     proto2 and proto3 are understood; extensions and defaults of proto2 are left out, groups and editions refused;
---   * a .proto, which protoc (protobuf-compiler; protoc-c before 1.6 will do) makes a set of;
---   * a shared object of protoc-c's output, with a list of the messages as tools/pb-messages prints it (examples/protobuf.lua shows
---     the commands). Its code is trusted like this program's own, and stays loaded.
---
--- The bytes of a set are not trusted: mistakes in them are reported. Messages of google.protobuf that are known already stay as
--- they are, also if a set has a later form of them. Waits for the disk, and for protoc.
---@param path string ending in .proto: to be compiled; a shared object's without a slash is searched in the system's library folders
---@param options? string|{ symbol: string?, include: string[]?, timeout: number? } symbol (or the string alone): a shared object's list ("vmctl_messages"); include: folders for protoc's imports, one of which holds the file (its own folder alone); timeout: the seconds for which protoc may be silent (60)
---@return string[]|nil names of the messages
---@return string? message
---@return string? code ENOENT (it cannot be loaded, or there is no protoc), EINVAL (a path with a NUL byte, a set that is none or breaks its rules, no such list, or another message of the same name is known already: then nothing was added), ETOOBIG (a set above 8 MiB), ENOTSUP (in a static program, as the agent is), ETIMEDOUT
function protobuf.load(path, options) end

--- Adds the messages of a descriptor set in a string, as `load` does. Does not wait.
---@param bytes string
---@return string[]|nil names
---@return string? message
---@return string? code EINVAL, ETOOBIG, ENOTSUP
function protobuf.load_set(bytes) end

--- The full names of all messages that are known, sorted.
---@return string[]|nil names
---@return string? message
---@return string? code ENOTSUP
function protobuf.names() end

--- The services of a descriptor set or a .proto, whose messages are added as `load` does. Waits for the disk, and for protoc.
---@param path string
---@param options? { include: string[]?, timeout: number? }
---@return vmctl.ProtobufService[]|nil services
---@return string? message
---@return string? code as `load`; EINVAL also of a shared object
function protobuf.services(path, options) end

end

do
---@class vmctl.qga
---@field PORT_NAME string
local qga = {}

--- A client that has connected and synchronised with the agent. Waits.
---
--- Connects to an agent and synchronises with it. Waits. docs/wire/qmp-qga.md#agent-synchronising.
---@param where string|table|function an address: the chardev of a virtio-serial port, a socket of the agent's own
---@param opts? { timeout: number?, dial_timeout: number?, sync_timeout: number?, max_line: integer? } seconds for a command without its own limit (10), for connecting (5), until the agent has answered (5; a guest that boots may need 60); bytes of a line (64 MiB)
---@return vmctl.QgaClient|nil
---@return string?
---@return string? as vmctl.dial; ETIMEDOUT: no agent answers; ERESET
function qga.connect(where, opts) end

end

do
---@class vmctl.qmp
local qmp = {}

--- A client that has connected and negotiated. Waits.
---
--- Connects to a monitor, reads its greeting and negotiates. Waits. docs/wire/qmp-qga.md#qmp-start.
---@param where string|table|function an address: "unix:/run/vm/qmp.sock"
---@param opts? { timeout: number?, dial_timeout: number?, greeting_timeout: number?, max_line: integer?, events: integer?, oob: boolean? } seconds for a command without its own limit (5 for query-…, 30 for others), for connecting (5), for each step of the greeting (5); bytes of a line (4 MiB); events kept for one listener (256, and 1 MiB; then the oldest are dropped); oob: false does without out-of-band commands
---@return vmctl.QmpClient|nil
---@return string?
---@return string? as vmctl.dial; ETIMEDOUT: no greeting, another client may be connected; EPROTO: it is no monitor; ERESET
function qmp.connect(where, opts) end

end

do
---@class vmctl.ready
local ready = {}

--- Waits until all probes succeed, side by side, under one deadline. A final failure of one cancels the others. See
--- vmctl.ready.all.
---@param list table probes or functions, by number or by name; options as for `wait`, and concurrency: how many may ask at a time (64); on_attempt(key, number, message, code)
---@return table<any, { ready: true, seconds: number, value: any, attempts: integer }>|nil results by the same keys
---@return string? message which were not ready, and why
---@return string? code ETIMEDOUT, or that of the failure that no waiting mends
---@return table? results of all, those not ready as { ready = false, message, code, seconds, attempts }
function ready.all(list) end

--- A command ends with exit code 0. The probe's value: its result. A run that the attempt's time-out ends counts as "not yet".
---@param where vmctl.Machine|vmctl.ExecClient
---@param command vmctl.Command|string as for `run`, whose options it may have; the time-out is the attempt's
---@return vmctl.Probe
function ready.command(where, command) end

--- A guest's console shows a Lua pattern, in its kept or its further output. The probe's value: the match.
---@param vm vmctl.Machine
---@param pattern string
---@param opts? { plain: boolean? }
---@return vmctl.Probe
function ready.console(vm, pattern, opts) end

--- An exec agent answers. The probe's value: its revision.
---@param where vmctl.ExecClient|vmctl.Machine|string|table a client, a machine or an address
---@return vmctl.Probe
function ready.exec(where) end

--- A file (of any type) exists in the guest. The probe's value: true.
---@param where vmctl.Machine|vmctl.ExecClient
---@param path string
---@return vmctl.Probe
function ready.file(where, path) end

--- A function returns a true value, which is the probe's value. Other results count as "not yet", with an optional message and
--- code, unless the code is final (EINVAL, ECLOSED, ENOTSUP, EACCES, EPERM). No wait in it lasts
--- longer than an attempt may; an error that it raises goes through.
---@param fn? fun(timeout: number): any, string?, string
---@param label? string
---@return vmctl.Probe
function ready.fn(fn, label) end

--- A port accepts connections: `port(address, options)` seen from here, `port(target, port, host, options)` as the guest sees
--- it. Behind a user-mode forwarding a connect proves nothing (QEMU accepts before the guest does): ask for bytes. The probe's
--- value: true, or the bytes read.
---@param where string|table|vmctl.Machine|vmctl.ExecClient an address or a target that runs commands
---@param port_or_options? integer|table
---@param host? string as the guest sees it; "127.0.0.1", the guest itself
---@param opts? { read: boolean?, expect: string?, plain: boolean?, send: string? } read: at least one byte must come; expect: a Lua pattern (plain: a text) that the received bytes must match; send: bytes that are sent first
---@return vmctl.Probe
function ready.port(where, port_or_options, host, opts) end

--- The StereOS control plane says "ready" or "healthy". The probe's value: the health (of a guest too old to tell, its state is
--- "unknown": it answered a ping). A guest that shuts down ends the wait, code ESHUTDOWN.
---@param where vmctl.StereosClient|vmctl.Machine|string|table a client, a machine or an address
---@return vmctl.Probe
function ready.stereos(where) end

--- A guest's system is up: systemd or OpenRC has started all. A degraded one never becomes ready. The probe's value: "systemd", "openrc" or
--- "none".
---@param where vmctl.Machine|vmctl.ExecClient
---@return vmctl.Probe
function ready.system(where) end

--- Waits until a probe succeeds.
---@param probe vmctl.Probe|function one of vmctl.ready's probes, or a function (see `fn`)
---@param opts? { timeout: number?, interval: number?, attempt_timeout: number?, on_attempt: function? }|number seconds for all of it (60), longest pause between two attempts (0.2; the first is 10 ms), limit of one attempt (5); on_attempt(number, message, code) is called after each, without a message when it succeeded
---@return number|nil seconds since the call
---@return any message or the probe's value
---@return string? code ETIMEDOUT; ERESET: the machine's QEMU has ended; else that of the failure that no waiting mends
function ready.wait(probe, opts) end

end

do
---@class vmctl.rootfs
local rootfs = {}

--- Tells an archive of an image from another one, by its contents. Waits: a compressed one may be unpacked into the cache.
---@param path string
---@param opts? table as for image
---@return "docker-archive"|"oci-archive"|nil kind nil: neither, or no archive
function rootfs.archive_kind(path, opts) end

--- Tells if a text can be the name of an image: "tool", "debian:12", "localhost:5000/some/tool:1". Does not wait.
---@param name string
---@return true|nil
---@return string?
---@return string? code EINVAL
function rootfs.check_name(name) end

--- Refuses an image of a folder or an archive that is certainly no root file system: nothing in it could run. Does not wait.
---@param spec string that it was made of
---@param image table as from image
---@return true|nil
---@return string?
---@return string? code EINVAL
function rootfs.check_root(spec, image) end

--- Finds an image by its name, or by its digest or the beginning of that ("sha256:" and six digits at least). Waits for the file
--- system alone.
---@param reference string
---@return table|nil entry as in `list`
---@return string?
---@return string? code ENOENT, EINVAL: several begin so
function rootfs.find(reference) end

--- Removes a name from an image; the file is removed with its last name. Waits.
---@param name string
---@return true|nil
---@return string?
---@return string? code ENOENT
function rootfs.forget(name) end

--- Makes the image of a root, or finds it in the cache: one read-only EROFS. Waits. gzip, zstd, xz and bzip2 unpack layers, tar reads
--- folders, skopeo brings images of registries.
---@param spec string as for parse: an image, a folder or an archive
---@param opts? { cache: string?, arch: string?, on_progress: fun(state: { bytes: integer })?, max_bytes: integer?, max_entries: integer? } cache: a folder, vmctl in $XDG_CACHE_HOME by default; arch: "amd64", "arm64" …, this machine's by default; the limits (64 GiB of content, 4,000,000 names) are those of one image
---@return { path: string, digest: string, size: integer, config: table, has_init: string?, arch: string, no_root: string? }|nil image config has env, user, cwd, entrypoint, cmd; has_init: the path of an init that stage 1 finds; no_root: why it is no root file system, where that is certain
---@return string? message
---@return string? code EINVAL, ENOENT, EPROTO (damaged, or for another architecture), ETOOBIG (over a limit)
function rootfs.image(spec, opts) end

--- The entries of a cache, the one that was used last first. Waits.
---@param folder? string the cache; vmctl in $XDG_CACHE_HOME by default
---@return { kind: string, path: string, name: string, size: integer, used: integer, created: integer?, from: string? }[] entries kind: "image"
---@return "layout" for the packed layers of an image that was pulled, or "archive" for one of an image that was packed as a whole; size: bytes on the disk; used: seconds of the epoch; from: what it was made of
function rootfs.list(folder) end

--- Makes the image of an archive that a function writes, or finds it in the cache. Waits.
---@param key string names the content: another content has another key
---@param write? fun(path: string): any, string?, string writes a tar archive into a file that is to be made
---@param opts? table as for image
---@return table|nil image as from image, without config
---@return string? message
---@return string? code
function rootfs.made(key, write, opts) end

--- Keeps an image under a name. Waits.
---@param name string
---@param image table of vmctl.rootfs.image
---@param opts { from: string, replace: boolean? } from: what it was made of, a root's text (the init of "dir:" and "tar:" is started); replace: an image of that name loses it
---@return table|nil entry
---@return string?
---@return string? code EEXIST: another image has that name; EINVAL
function rootfs.name(name, image, opts) end

--- The images that have names, by their names. Waits for the file system alone.
---@return { name: string, digest: string, arch: string, from: string, created: integer, config: table, has_init: string?, path: string }[]|nil entries
---@return string?
---@return string? code EACCES: the folder is not this user's alone
function rootfs.named() end

--- Reads the text of a root: "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", "docker-archive:FILE[:TAG]", "docker://NAME", "image:NAME",
--- "dir:PATH", "tar:FILE", "disk:FILE", or { size = "4G" }. A path that ends in ":" and a word gets a ":" more at its end. Does not wait.
---@param spec string|table
---@return { kind: string, path: string?, tag: string?, name: string?, size: integer? }|nil what kind: oci, oci-archive, docker-archive, docker, image, dir, tar, disk or empty
---@return string? message
---@return string? code EINVAL
function rootfs.parse(spec) end

--- Removes from a cache images that were not used for long, and leftovers of killed processes. An image that a guest has stays, and so
--- does one that was asked for within the last minute. Waits.
---@param opts? { cache: string?, keep_bytes: integer?, unused: number? } keep_bytes: the entries that were used last stay, up to so many bytes in all; unused: entries that were not used for so many seconds are removed (30 days, if neither is given)
---@return { kind: string, path: string, name: string, size: integer }[] removed
function rootfs.prune(opts) end

--- Removes an image from a cache. Waits.
---@param digest string
---@param folder? string the cache; vmctl in $XDG_CACHE_HOME by default
---@return true|nil
---@return string?
---@return string? code ENOENT; EBUSY: a guest has it, or it is being made
function rootfs.remove(digest, folder) end

--- The failure of taking a name that another image has. Does not wait.
---@return nil
---@return string
---@return string
function rootfs.taken(name) end

end

do
---@class vmctl.scenario
local scenario = {}

--- Declares the machines of the current describe's tests. Each test has new ones: they are started concurrently at its first verb, and
--- ended with it, also when it fails. (They have ended before a user's own after_each runs; use `finally`.) Does not wait.
---@param specs table<string, vmctl.ScenarioSpec>|string[] by name; a list of names: with default options
---@param opts? vmctl.ScenarioOptions
---@return vmctl.Scenario vms: `vms.NAME` is a machine; start, partition, heal, switch, artefacts
function scenario.machines(specs, opts) end

--- Machines for a block, without busted: `local vms <close> = scenario.open({ … })`. Does not wait.
---@param specs table<string, vmctl.ScenarioSpec>|string[] as for `machines`
---@param opts? vmctl.ScenarioOptions
---@return vmctl.Scenario
function scenario.open(specs, opts) end

--- Runs a test without busted: calls `fn(vms)` and then ends the machines. Raises the function's error, with a report added. Waits.
---@param name string of the test
---@param specs table<string, vmctl.ScenarioSpec>|string[] as for `machines`
---@param opts? vmctl.ScenarioOptions may be left out
---@param fn fun(vms: vmctl.Scenario): ...
---@return any # ... results of fn
function scenario.run(name, specs, opts, fn) end

--- Runs a named part of a test. The name is added to its failures, and its duration to the test's log.
---@param name string
---@param fn function
---@return any # ... results of fn
function scenario.subtest(name, fn, ...) end

end

do
---@class vmctl.signals
local signals = {}

--- The name of a signal number, without SIG; "SIG34" and the like for real-time signals. `number` reads it back.
---@param number integer
---@return string
function signals.name(number) end

--- The number of a signal given as "TERM", "SIGTERM", "RTMIN+1", "SIG34" or a number; raises for another value.
---@param signal string|integer
---@return integer
function signals.number(signal) end

--- Makes signals of this process events to wait for, instead of their usual effect: for programs, not for libraries.
--- Children that vmctl starts get them as usual. Does not wait.
---@param list (string|integer)[] e.g. { "TERM", "INT", "WINCH" }
---@return vmctl.SignalWatch|nil watch with next(timeout), close()
---@return string?
---@return string?
function signals.watch(list) end

end

do
---@class vmctl.socketforward
---@field DIRECTORY string
---@field PORT integer
---@field SERVICE string
---@field STREAM_PORT integer
local socketforward = {}

--- The host's side. Waits.
---
--- Forwards sockets of a guest to sockets of this host. Waits until the guest has bound them.
---@param client vmctl.TtrpcClient of the guest's RPC port
---@param entries table<string, { guest_path: string?, guest_address: string?, host_path: string?, host: string?, mode: integer? }> by forward id; guest_path or guest_address ("tcp:127.0.0.1:8080", which our agent alone understands): where the guest listens; host_path or host (an address): the socket dialled here; mode: of the guest's socket file (0666; our agent alone)
---@param opts { open: function?, streams?: string|table|function, dial_timeout: number?, open_timeout: number?, limit: integer?, idle: number?, linger: number?, mode: integer?, reconnect?: string|table|function, on_state: function? } open(timeout) gives a stream to the guest's stream port, `streams` is its address; seconds to dial (4) and until the guest's ack (5); connections at a time (1024, others wait in the guest); seconds without a byte, seconds after one side has ended (no limits by default); reconnect: an address, or a function of a time-out that gives a new client when this one is lost; on_state(state, message, code)
---@return vmctl.SocketForwarder|nil
---@return string?
---@return string? as the call of Bind: nothing is bound then
function socketforward.forward(client, entries, opts) end

--- The id of a forward as nerdbox makes it (docs/wire/socketforward.md#host-side). Does not wait.
---@param container_id string
---@param destination string the path in the container
---@return string id 64 hexadecimal digits
function socketforward.forward_id(container_id, destination) end

--- Makes an id for a stream: the prefix, the time in nanoseconds, six random characters, with dashes between. Does not wait.
---@param prefix string
---@return string|nil id
---@return string?
---@return string? code EIO: there is no source of random bytes
function socketforward.generate_stream_id(prefix) end

--- The guest's side.
---
--- Makes the service. Does not wait.
---@param opts? { directory: string?, confine: boolean|string[]|nil, tcp: "any"?, mode: integer?, queue: integer?, pending: integer?, pending_timeout: number?, queue_timeout: number?, handshake_timeout: number?, unclaimed_timeout: number?, unclaimed: integer?, idle: number?, linger: number?, allow: function|table|nil, streams: vmctl.SocketforwardStreams? } directory: where sockets may be (/run/socketfwd); confine: other folders in its place, or false for anywhere, abstract names included; tcp = "any": TCP sockets not on loopback alone; mode of the sockets' files (0666); connections without a stream of one forward (64) and of all (1024), others wait in the backlog; seconds for the host's answer (10), for an Accept stream to come (60), for a stream's id (5), for its claim (30), and how many may wait for that (1024); limits of relays as of vmctl.relay; allow: who may open streams, see vmctl.net.access; streams: a manager that other services use as well (see socketforward.streams), with limits of its own: the four that concern streams, and allow, do not count then, and its unclaimed streams outlive this service
---@return vmctl.SocketforwardService
function socketforward.service(opts) end

--- A manager that keeps the guest's raw streams until they are claimed, to be shared by services.
---
--- Makes a stream manager, which several services may share. Does not wait.
---@param opts? { handshake_timeout: number?, unclaimed_timeout: number?, unclaimed: integer?, allow: function|table? } seconds for the id of a stream (5) and for which it waits to be claimed (30), how many may wait (1024), who may connect (see vmctl.net.access)
---@return vmctl.SocketforwardStreams with serve, claim, count, close
function socketforward.streams(opts) end

end

do
---@class vmctl.stereos
---@field DEFAULT_TIMEOUT integer
---@field GUEST_CID integer
---@field MAX_LINE integer
---@field PORT integer
---@field states table
---@field types table
local stereos = {}

--- A client that connects when it is first used.
---
--- A client that connects at its first call. Does not wait.
---@param where? string|table|function|integer an address; a number: the CID of a guest, port 1024; nil: CID 3, as the reference
---@param opts? { timeout: number?, dial_timeout: number?, max_line: integer? } seconds for a call (10), for connecting (10, and never longer than the call), bytes of a line with its line feed (1 MiB)
---@return vmctl.StereosClient|nil
---@return string?
---@return string? code EINVAL, ENAMETOOLONG
function stereos.client(where, opts) end

--- A client that is connected. Waits.
---@param where? string|table|function|integer as for `client`
---@param opts? table as for `client`
---@return vmctl.StereosClient|nil
---@return string?
---@return string? as vmctl.dial
function stereos.connect(where, opts) end

--- Reads a line, as `parse`.
---@param line string without its line feed
---@return { type: string, payload: table? }|nil envelope
---@return string? message
---@return string? code "EPROTO"
---@return string? reply_to
function stereos.decode(line) end

--- A message as its line, without the line feed.
---@param kind string one of `types`, or a type of your own
---@param payload? table members by the JSON's names; unknown members of a known type are left out
---@return string|nil line
---@return string?
---@return string? code EINVAL: a member is missing, of the wrong type, or not UTF-8
function stereos.envelope(kind, payload) end

--- Serves the guest's side on a listener until that is closed. Waits.
---
--- Makes a server and serves a listener until that is closed. Waits.
---@param listener vmctl.Listener
---@param handlers table as for `new`
---@param opts? table as for `new`
---@return true|nil
---@return string?
---@return string? code ECANCELED
function stereos.serve(listener, handlers, opts) end

--- The guest's side, for several listeners.
---
--- Makes a server. Each handler is called with the request's checked payload (an absent `mode` is 0; the payload of a
--- type of your own is not checked) and { type=, payload=, peer= }, and returns `true`, `true, { changed = boolean }`, or nil,
--- message, code, which all become an ack. get_health returns { state=, agents=, uptime_seconds= }, or only some of them.
--- Handlers may wait. Only one runs at a time, for all clients together; get_health is the exception.
---@param handlers table functions by the request's type; `after` maps types to functions, which are called with the payload when the ack that says ok has gone out
---@param opts? { allow?: function|table, connections: integer?, max_line: integer?, first_line_timeout: number?, handler_timeout: number?, on_idle: function? } who may connect (see vmctl.net.access), how many at a time (1024), bytes of a line with its line feed (1 MiB), seconds until a client must have asked for something (600), and that a handler may wait (60); on_idle is called when the last connection has ended
---@return vmctl.StereosServer server with serve, converse, lifecycle, state
function stereos.server(handlers, opts) end

end

do
---@class vmctl.trace
local trace = {}

--- One record as a line for a person.
---
--- Begins a view of one trace.
---@param record vmctl.TraceRecord
---@return string
function trace.format(record) end

--- Starts the trace that VMCTL_TRACE asks for, when vmctl is loaded. Reports on standard error if that fails.
---@param loading string vmctl's version
function trace.from_environment(loading) end

--- The file that is being recorded to, or nil.
---@return string?
function trace.path() end

--- Writes a trace for a person. Does not yield.
---@param path string
---@param out? { write: fun(self, text: string) } standard output by default
---@param opts? { width: integer?, session: string? } bytes of a message that are shown (100); one session alone, by its id
---@return integer|nil lines
---@return string?
---@return string? as `read`
function trace.print(path, out, opts) end

--- The records of a trace: `for record in assert(trace.read(path)) do`.
---
--- The records of a trace, one after the other: `for record in assert(trace.read(path)) do`. Does not yield; the file is closed
--- at the end of the loop.
---@param path string
---@return (fun(): vmctl.TraceRecord?)|nil iterator
---@return string? message
---@return string? code ENOENT, EACCES, EINVAL (no regular file)
function trace.read(path) end

--- Begins to record. The file is this user's alone (mode 0600), and is appended to. Does not wait.
---@param path string
---@param opts? { max_size: integer?, data_max: integer?, raw: boolean? } bytes of the file (256 MiB), beyond which records are dropped and counted; bytes of a message that are kept (1 MiB); also keep bytes in which secrets cannot be recognised
---@return true|nil
---@return string?
---@return string? code EBUSY (it is recording), EINVAL (no regular file), EPERM (another user's), ELOOP …
function trace.start(path, opts) end

--- The state of the recording: the counts of recorded and of missing events (a full disk, the limit of its size). Does not wait.
---@return { records: integer, dropped: integer, code: string? }|nil counts code: why records were dropped last
---@return nil # : not recording
function trace.status() end

--- Ends recording. Idempotent, never waits.
---@return { records: integer, dropped: integer }|nil counts nil: it was not recording
function trace.stop() end

--- A view, whose `format(record)` gives records in order as lines for a person.
---
--- Begins a view of one trace.
---@param opts? { width: integer? }
function trace.view(opts) end

end

do
---@class vmctl.ttrpc
local ttrpc = {}

--- A client of a connected stream.
---
--- Makes a client of a connected stream, which it takes; either end may have dialled. Does not wait.
---@param stream vmctl.Stream
---@param opts? { timeout: number?, services: vmctl.TtrpcService[]?, metadata: table?, first_id: integer? } seconds for a call (60); descriptions of services (nerdbox's are known); metadata that each request carries; the first stream id, made odd, of a connection that has had earlier ones (1)
---@return vmctl.TtrpcClient|nil
---@return string?
---@return string? code ENOTSUP: there is no protobuf here
function ttrpc.client(stream, opts) end

--- A client that connects to an address. Waits.
---
--- Connects. Waits.
---@param where string|table|function an address
---@param opts? table as for `new`, and dial_timeout (seconds, 10)
---@return vmctl.TtrpcClient|nil
---@return string?
---@return string? as vmctl.dial; ENOTSUP
function ttrpc.connect(where, opts) end

--- Serves a listener. Waits.
---
--- Makes a server and serves a listener until that is closed. Waits.
---@param listener vmctl.Listener
---@param services table as for `new`
---@param opts? table as for `new`
---@return true|nil
---@return string?
---@return string? code ECANCELED, ENOTSUP
function ttrpc.serve(listener, services, opts) end

--- A server of services.
---
--- Makes a server.
---@param services table<string|vmctl.TtrpcService, table> as for `register`
---@param opts? { allow?: function|table, connections: integer?, streams: integer?, on_idle: function?, services: vmctl.TtrpcService[]?, ids: "rising"|"any"? } who may connect (see vmctl.net.access), how many at a time (1024; others wait in the backlog), streams of a connection at a time (1024), called when the last connection has ended, descriptions (nerdbox's are known), ids: "any" takes requests of a connection in any order of their ids, for clients that number them before they send; only an id that is open is refused then ("rising": an id has to be above all before it, as the protocol has it)
---@return vmctl.TtrpcServer|nil server with register, serve, converse, shutdown, close
---@return string?
---@return string? code ENOTSUP
function ttrpc.server(services, opts) end

--- Describes a service, so that its messages are tables.
---
--- Describes a service.
---@param description { name: string, methods: table<string, table> } name: with its package; methods: { request =, response = } (full names of messages; without one the message is bytes), client_stream, server_stream
---@return vmctl.TtrpcService
function ttrpc.service(description) end

--- Describes the services of a descriptor set or a .proto. Waits.
---
--- Describes all services of a descriptor set or a .proto, and adds its messages, as protobuf.load does. Waits for the disk, and
--- for protoc.
---@param path string
---@param opts? { include: string[]?, timeout: number? } see protobuf.load
---@return vmctl.TtrpcService[]|nil services in the file's order, for the option `services` and for a server's handlers; each is also there under its name, with its package: services["spec.Echo"]
---@return string? message
---@return string? code as protobuf.services
function ttrpc.services(path, opts) end

end

do
---@class vmctl.vsock
---@field AF_VSOCK integer
---@field CID_ANY integer
---@field CID_HOST integer
---@field CID_HYPERVISOR integer
---@field CID_LOCAL integer
---@field IOCTL_GET_LOCAL_CID integer
---@field PORT_ANY integer
local vsock = {}

--- A vsock address. `vmctl.dial` and `vmctl.listen` take it too.
---@param cid integer|"any"|"hypervisor"|"local"|"host"
---@param port integer|"any"
---@return { cid: integer, port: integer, network: "vsock", kind: "vsock" } address tostring gives "CID:PORT"
function vsock.address(cid, port) end

--- Connects. Waits until it is connected.
---@param cid integer|string as in `address`
---@param port integer
---@param opts? { timeout: number?, format?: vmctl.Format|table } as of vmctl.dial
---@return vmctl.Stream|nil
---@return string?
---@return string? code EINVAL, ENODEV (no such CID), ECONNRESET (nobody listens), ETIMEDOUT …
function vsock.dial(cid, port, opts) end

--- Listens. Does not wait.
---@param port? integer|"any" any free port by default; l:address().port tells which
---@param opts? { cid: integer?, backlog: integer? } cid: only connections to this CID of ours (any)
---@return vmctl.Listener|nil
---@return string?
---@return string? code EADDRINUSE, EADDRNOTAVAIL (not a CID of ours), EACCES (below 1024) …
function vsock.listen(port, opts) end

--- This machine's own CID. Does not wait.
---@return integer|nil cid
---@return string?
---@return string? code ENOENT where there is no /dev/vsock
function vsock.local_cid() end

end

do
---@class vmctl.Address
---@field kind "tcp"|"unix"|"vsock"|"hybrid"|"serial"|"chardev"|"exec"|"fd"|"func"|"inside"
---@field network? string "tcp", "unix" or "vsock" where it is a plain socket
---@field host? string
---@field port? integer
---@field path? string
---@field cid? integer
---@field command? string
---@field argv? string[]
---@field fd? integer
---@field fn? fun(timeout: number): vmctl.Stream
---@field text? string the label of a function, of a target
---@field target? table a machine, an exec client
---@field at? vmctl.Address as that target sees it
local Address = {}

--- Connects. Waits (see `vmctl.dial`).
---@param opts? number|{ timeout: number?, format?: vmctl.Format|table }
---@return vmctl.Stream|nil stream
---@return string? message
---@return string? code
function Address:dial(opts) end

--- The address as logs and errors show it. `parse` can read it, unless it is a function's, is inside a target or has
--- control bytes.
---@param style? "stereos" as StereOS' own tools write a vsock address: "vsock:CID=3,port=1024"
---@return string
function Address:label(style) end

--- The same address; `fn(stream)` is called for each stream that a dial makes for it.
---@param fn fun(stream: vmctl.Stream)
---@return vmctl.Address
function Address:observed(fn) end

end

do
---@class vmctl.CcClient
local CcClient = {}

--- Tells if a call can be made: the client is not closed, and the helper is still there. Does not wait.
---@return boolean
function CcClient:alive() end

--- Builds an image. Waits: minutes.
---
--- Builds an image; needs no machine. Waits: minutes.
---@param opts table
---@param timeout? number seconds
---@return vmctl.CcSnapshot|nil
---@return string?
---@return string?
---@return table? as `call`
function CcClient:build_dockerfile(opts, timeout) end

--- Sends a request and waits for its answer. After a time-out, or when the task was cancelled,
--- the connection is closed, unless the call was still queued: a late answer would be taken for that of the next call.
---@param kind integer one of vmctl.cc.types
---@param payload? string|fun(e: vmctl.CcEncoder) the request's fields
---@param opts? number|{ timeout: number? } seconds, the queue included
---@return vmctl.CcDecoder|nil answer its fields, the code byte is read
---@return string? message
---@return string? code EREMOTE: the helper has failed, the fourth value is its error (ETIMEDOUT and ECANCELED with a fourth value: the helper's own); ENOTSUP: it does not know the request; of this side: ETIMEDOUT, ECANCELED, ERESET (the connection was lost; the request may have been done or not), ECLOSED, EPROTO, ETOOBIG
---@return { code: integer, message: string, op: string, path: string }? error
function CcClient:call(kind, payload, opts) end

--- As `call`, of a request whose answer is bytes alone. Waits.
---@param kind integer
---@param payload string
---@param timeout? number seconds
---@return string|nil bytes
---@return string?
---@return string?
---@return table? as `call`
function CcClient:call_for_bytes(kind, payload, timeout) end

--- Ends the connection; calls that wait fail with ECLOSED, and so do later ones. Waits only for a helper
--- that `spawn` started: it ends, or is killed after two seconds. Idempotent. (If the helper has other clients, its instance
--- goes on: close the instance first.)
---@return true
function CcClient:close() end

--- The machine that another client has booted in the helper. Does not wait, and does not ask the helper.
---
--- The machine of a helper that has one. Does not wait.
---@return vmctl.CcInstance
function CcClient:current_instance() end

--- Boots a machine in the helper. Waits.
---
--- Boots a machine. Waits.
---@param opts table
---@param timeout? number seconds
---@return vmctl.CcInstance|nil
---@return string?
---@return string?
---@return table? as `call`
function CcClient:instance(opts, timeout) end

--- The most bytes of a payload.
function CcClient:max_payload() end

end

do
---@class vmctl.CcCommand
local CcCommand = {}

--- As `output`, with its standard error in between.
---@return string|nil
---@return string?
---@return string?
---@return table? as `output`
function CcCommand:combined_output(timeout) end

--- Its environment.
---@return table<string, string>|nil
---@return string?
---@return string?
---@return table?
function CcCommand:environ(timeout) end

--- The exit code as far as it is known.
---@return integer|nil exit_code
---@return boolean|string|nil is_final false: it may still run, which is reported as 0 too; or the message
---@return string? code EINVAL: it was not started
---@return table? error
function CcCommand:exit_code(timeout) end

--- Frees it. A running command goes on, and its end is not reported. Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcCommand:free(timeout) end

--- A variable of its environment; "" when it is not set.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcCommand:get_env(name, timeout) end

--- Ends it, and frees it. (The reference's helper only frees it.)
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcCommand:kill(timeout) end

--- Runs it to its end; its standard error is dropped. (The reference's helper drops the output as well if the exit code is
--- not 0.)
---@return string|nil stdout
---@return integer|string|nil exit_code or the message
---@return string? code
---@return table? error
function CcCommand:output(timeout) end

--- Starts it and waits for its end.
---@param timeout? number seconds, an hour by default
---@return integer|nil exit_code
---@return string?
---@return string?
---@return table? as `wait`
function CcCommand:run(timeout) end

--- Sets its working directory. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcCommand:set_dir(dir, timeout) end

--- Sets a variable of its environment.
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcCommand:set_env(name, value, timeout) end

--- Starts it. Does not wait for its end.
---@return true|nil
---@return string?
---@return string?
---@return table? EBUSY: it has been started already
function CcCommand:start(timeout) end

--- Waits for the end of a command that was started.
---@param timeout? number seconds, an hour by default; then the connection is closed
---@return integer|nil exit_code below 0: it could not be started (minus an errno)
---@return string? message
---@return string? code EINVAL: it was not started; and as client:call
---@return table? error
function CcCommand:wait(timeout) end

end

do
---@class vmctl.CcConnection
local CcConnection = {}

--- Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table? it is closed in any case
function CcConnection:close(timeout) end

--- "HOST:PORT" of this end.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcConnection:local_addr(timeout) end

--- Reads the bytes that are there, at least one.
---@param most? integer bytes, 1 MiB by default and at most
---@return string|nil bytes
---@return string?
---@return string?
---@return table? EOF
function CcConnection:read(most, timeout) end

--- "HOST:PORT" of the peer.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcConnection:remote_addr(timeout) end

--- Writes bytes, piece by piece.
---@param data string
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcConnection:write(data, timeout) end

end

do
---@class vmctl.CcDecoder
local CcDecoder = {}

--- Any byte but 0 is true.
---@return boolean|nil
---@return string?
---@return string?
function CcDecoder:bool() end

--- Bytes with their length in front. If they are cut, the length has been consumed.
---@return string|nil
---@return string?
---@return string?
function CcDecoder:bytes() end

--- A folder's entries with their number in front.
---@return table[]|nil
---@return string?
---@return string?
function CcDecoder:dir_entries() end

--- An entry of a folder.
---@return { name: string, is_dir: boolean, mode: integer }|nil
---@return string?
---@return string?
function CcDecoder:dir_entry() end

--- build_args: nil when there are none.
---@return { dockerfile: string, context_dir: string, cache_dir: string, build_args: table<string, string>? }|nil
---@return string?
---@return string?
function CcDecoder:dockerfile_options() end

--- The body of an error; `code` 0 is none, and has no texts.
---@return { code: integer, message: string, op: string, path: string }|nil
---@return string?
---@return string?
function CcDecoder:error() end

--- Tells if a method has failed for lack of bytes. All later ones have failed as well.
---@return boolean
function CcDecoder:failed() end

--- mode: Go's (see vmctl.base.go_mode).
---@return { name: string, size: integer, mode: integer, mod_time: integer, is_dir: boolean, is_symlink: boolean }|nil
---@return string?
---@return string?
function CcDecoder:file_info() end

--- timeout_ns: nanoseconds, unsigned; 0 is none.
---@return { memory_mb: integer, cpus: integer, timeout_ns: integer, user: string, enable_dmesg: boolean, mounts: table[] }|nil
---@return string?
---@return string?
function CcDecoder:instance_options() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:int32() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:int64() end

--- A shared folder.
---@return { tag: string, host_path: string, writable: boolean }|nil
---@return string?
---@return string?
function CcDecoder:mount_config() end

--- How many bytes have not been read.
---@return integer
function CcDecoder:remaining() end

--- The options of a snapshot.
---@return { excludes: string[], cache_dir: string }|nil
---@return string?
---@return string?
function CcDecoder:snapshot_options() end

--- Bytes with their length in front. If they are cut, the length has been consumed.
---@return string|nil
---@return string?
---@return string?
function CcDecoder:string() end

--- Texts with their number in front.
---@return string[]|nil
---@return string?
---@return string? never a part of the list
function CcDecoder:string_slice() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:uint16() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:uint32() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:uint64() end

--- An integer, big endian; an unsigned one of 64 bits is negative from 2^63 on: compare with math.ult.
---@return integer|nil
---@return string?
---@return string? code EPROTO: there are fewer bytes
function CcDecoder:uint8() end

end

do
---@class vmctl.CcEncoder
local CcEncoder = {}

--- One byte.
---@param value boolean
---@return vmctl.CcEncoder itself
function CcEncoder:bool(value) end

--- Returns the bytes written so far.
---@return string
function CcEncoder:bytes() end

--- A folder's entries with their number in front.
---@param list table[]
---@return vmctl.CcEncoder itself
function CcEncoder:dir_entries(list) end

--- An entry of a folder.
---@param entry { name: string, is_dir: boolean, mode: integer }
---@return vmctl.CcEncoder itself
function CcEncoder:dir_entry(entry) end

--- The options of an image's build.
---@param options { dockerfile: string, context_dir: string?, cache_dir: string?, build_args: table<string, string>? }
---@return vmctl.CcEncoder itself
function CcEncoder:dockerfile_options(options) end

--- The body of an error (docs/wire/cc-ipc.md#error-body); code 0 has no further fields.
---@param err { code: integer, message: string?, op: string?, path: string? }
---@return vmctl.CcEncoder itself
function CcEncoder:error(err) end

--- A file's properties.
---@param info { name: string, size: integer, mode: integer, mod_time: integer, is_dir: boolean, is_symlink: boolean } mode: Go's (see vmctl.base.go_mode); mod_time: Unix seconds
---@return vmctl.CcEncoder itself
function CcEncoder:file_info(info) end

--- The options of a new instance. Does not wait.
---@param options { memory_mb: integer?, cpus: integer?, timeout: number?, timeout_ns: integer?, user: string?, enable_dmesg: boolean?, mounts: table[]? } all may be left out; timeout in seconds, or to the nanosecond
---@return vmctl.CcEncoder itself
function CcEncoder:instance_options(options) end

--- An integer, big endian.
---@param value integer of 32 bits
---@return vmctl.CcEncoder itself
function CcEncoder:int32(value) end

--- An integer, big endian.
---@param value integer of 64 bits
---@return vmctl.CcEncoder itself
function CcEncoder:int64(value) end

--- A shared folder.
---@param mount { tag: string, host_path: string?, writable: boolean? } without host_path: an empty, writable file system
---@return vmctl.CcEncoder itself
function CcEncoder:mount_config(mount) end

--- Empties it for further use; earlier results of `bytes` stay as they are.
function CcEncoder:reset() end

--- The options of a snapshot: patterns to leave out, and its folder.
---@param options { excludes: string[]?, cache_dir: string? }
---@return vmctl.CcEncoder itself
function CcEncoder:snapshot_options(options) end

--- A text with its length in front.
---@param value string
---@return vmctl.CcEncoder itself
function CcEncoder:string(value) end

--- Texts with their number in front.
---@param list string[]
---@return vmctl.CcEncoder itself
function CcEncoder:string_slice(list) end

--- An integer, big endian.
---@param value integer 0 to 65535
---@return vmctl.CcEncoder itself
function CcEncoder:uint16(value) end

--- An integer, big endian.
---@param value integer 0 to 2^32 - 1
---@return vmctl.CcEncoder itself
function CcEncoder:uint32(value) end

--- From 2^63 on, a Lua integer is negative: it stands for the same 64 bits.
---@param value integer
---@return vmctl.CcEncoder itself
function CcEncoder:uint64(value) end

--- An integer, big endian.
---@param value integer 0 to 255
---@return vmctl.CcEncoder itself
function CcEncoder:uint8(value) end

--- Bytes with their length in front; on the wire the same as `string`.
---@param value string
---@return vmctl.CcEncoder itself
function CcEncoder:write_bytes(value) end

end

do
---@class vmctl.CcHelper
local CcHelper = {}

--- Ends it.
function CcHelper:close() end

--- The handler for vmctl.cc.server.
---@return function|vmctl.CcRouter
function CcHelper:handler() end

--- Ends the instance and closes all handles, as after the last client. The helper can be used again. Waits for the end of a guest.
function CcHelper:reset() end

end

do
---@class vmctl.CcInstance
local CcInstance = {}

--- Stops the machine and forgets it. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcInstance:close(timeout) end

--- A command, which is not started yet. Waits.
---@param argv table the program and its arguments, and by name dir and env
---@return vmctl.CcCommand|nil
---@return string?
---@return string?
---@return table?
function CcInstance:command(argv, timeout) end

--- The image's own program as a command. Waits.
---
--- The image's entrypoint as a command.
---@param argv? table arguments in place of the image's, and by name dir and env
---@return vmctl.CcCommand|nil
---@return string?
---@return string?
---@return table?
function CcInstance:entrypoint(argv, timeout) end

--- Replaces the machine's init by a program, and waits for its end, which ends the machine.
---@param argv string[] the program and its arguments
---@param timeout? number seconds, an hour by default
---@return true|nil
---@return string?
---@return string?
---@return table? EREMOTE: an exit code other than 0, or it could not be started
function CcInstance:exec(argv, timeout) end

--- The machine's identity: 8-4-4-4-12 hexadecimal digits. Waits.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcInstance:id(timeout) end

--- Waits.
---@return boolean|nil
---@return string?
---@return string?
---@return table?
function CcInstance:is_running(timeout) end

--- Listens inside the machine's network. Waits.
---
--- Listens inside the machine.
---@param where string "HOST:PORT" or ":PORT"
---@param kind? string "tcp" by default
---@return vmctl.CcListener|nil
---@return string?
---@return string?
---@return table?
function CcInstance:listen(where, kind, timeout) end

--- Sets the size of the console. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcInstance:set_console(cols, rows, timeout) end

--- Switches the internet access on or off. Waits.
---@param enabled boolean
---@return true|nil
---@return string?
---@return string?
---@return table?
function CcInstance:set_network(enabled, timeout) end

--- Waits until the machine has ended. No other request can be made on this connection meanwhile.
---@param timeout? number seconds, an hour by default; then the connection is closed
---@return true|nil
---@return string?
---@return string?
---@return table? EREMOTE: it ended badly
function CcInstance:wait(timeout) end

end

do
---@class vmctl.CcListener
local CcListener = {}

--- Waits for a connection.
---@return vmctl.CcConnection|nil
---@return string?
---@return string?
---@return table?
function CcListener:accept(timeout) end

--- "HOST:PORT" that it listens on.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcListener:addr(timeout) end

--- Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table? it is closed in any case
function CcListener:close(timeout) end

end

do
---@class vmctl.CcResponse : vmctl.CcEncoder
local CcResponse = {}

--- The payload, without a header.
---@return string
function CcResponse:build() end

--- The code byte of a success, which stands in front of the fields.
function CcResponse:success() end

end

do
---@class vmctl.CcRouter
local CcRouter = {}

--- Sets the handler of a type; the last one counts. It is called with a decoder of the request's payload and a context
--- ({ type =, peer =, connection = }: `connection` is a table of the connection's own, which goes with it), may wait, and returns
--- the answer: bytes or a response builder, with the code byte in front; nothing, "" or true for an answer without fields. A
--- failure is nil, message, code, { op =, path = }: the code is a number of vmctl.cc.codes or an errno's name; what the fourth
--- value holds as `code`, `message`, `op` and `path` counts first, so that another helper's failure can be passed on as it is.
---@param kind integer one of vmctl.cc.types
---@param fn fun(d: vmctl.CcDecoder, context: table): ...
---@return vmctl.CcRouter
function CcRouter:handle(kind, fn) end

--- The handler for a server: the router itself.
---@return vmctl.CcRouter
function CcRouter:handler() end

end

do
---@class vmctl.CcServer
local CcServer = {}

--- Ends it: removes its socket's file unless another server has replaced it, closes connections, and cancels handlers; `serve`
--- and `serve_one` return when these have ended. Idempotent, never waits.
function CcServer:close() end

--- Serves one connection until it ends, and closes it. It does not count among `connections`. Waits.
---@param stream vmctl.Stream
---@return true|nil
---@return string?
---@return string? code ECLOSED: the server is closed
function CcServer:converse(stream) end

--- Accepts and serves connections until the server or the listener is closed; running handlers are cancelled then. May be called for
--- several listeners. Waits.
---@param listener? vmctl.Listener another one than that of the server's own path
---@return true|nil
---@return string?
---@return string? code ECANCELED
function CcServer:serve(listener) end

--- Serves the first connection until it ends. Closes the listener and removes its file, so that nobody else connects. Waits.
---@param timeout? number seconds until the first connection; no limit by default
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT, ECANCELED; a server that is closed meanwhile is no failure
function CcServer:serve_one(timeout) end

--- The path that it listens on, or nil.
function CcServer:socket_path() end

end

do
---@class vmctl.CcSnapshot
local CcSnapshot = {}

--- Its number as a source of machines; no request takes it yet.
---@return integer|nil
---@return string?
---@return string?
---@return table?
function CcSnapshot:as_source(timeout) end

--- The key that identifies its content.
---@return string|nil
---@return string?
---@return string?
---@return table?
function CcSnapshot:cache_key(timeout) end

--- Frees the handle; the stored snapshot stays. Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table? it is closed in any case
function CcSnapshot:close(timeout) end

--- The snapshot that it was made from. Each call makes a new object, which has to be closed.
---@return vmctl.CcSnapshot|nil
---@return string?
---@return string?
---@return table? ENOENT: it has none
function CcSnapshot:parent(timeout) end

end

do
---@class vmctl.Channel
local Channel = {}

--- No more values can be sent; those that are there can be received. Never waits.
function Channel:close() end

--- Receives a value. Waits while there is none.
---@param timeout? number|{ timeout: number } seconds
---@return any|nil value
---@return string?
---@return string? code ECLOSED once it is closed and empty, ETIMEDOUT, ECANCELED
function Channel:recv(timeout) end

--- Sends a value (not nil). Waits while the channel is full.
---@param value any
---@param timeout? number|{ timeout: number } seconds
---@return true|nil
---@return string?
---@return string? code ECLOSED, ETIMEDOUT, ECANCELED
function Channel:send(value, timeout) end

end

do
---@class vmctl.Child
local Child = {}

--- Kills it if it still runs, and closes its streams. Idempotent, never waits.
function Child:close() end

--- Sends a signal to the process and its group. Does not wait.
---@param signal? string|integer "TERM" by default
---@param alone? boolean to the process only, and not to the rest of its group
---@return true|nil
---@return string?
---@return string? code ESRCH once it has ended
function Child:kill(signal, alone) end

--- From now on the rest of its group is killed at its end, as with the option `sweep`. Does not wait.
function Child:sweep() end

--- Waits for the end of the process.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record
---@return string?
---@return string? code ETIMEDOUT, ECANCELED, ECHILD
function Child:wait(timeout) end

end

do
--- a program and its arguments, exactly as given, and options by name
---@class vmctl.Command
---@field [integer] string
---@field cwd? string
---@field env? table<string, string> added to the environment that commands have there
---@field user? string
---@field merge_stderr? boolean stderr goes where stdout goes
---@field keep? boolean false: the rest of its process group is killed at its end (true)
---@field tty? boolean a terminal of its own
---@field rows? integer of the terminal
---@field cols? integer
---@field timeout? number seconds for all of it; of a command that is started, for each call of the process
---@field stdin? string|function|vmctl.Stream|boolean its input; of `start`: false for none, "whole": see vmctl.ExecClient.start
---@field check? boolean run: an exit code other than 0 is a failure, code "EEXIT"
---@field max_output? integer run: bytes kept of each stream, 64 MiB; the head and the tail of a longer one
---@field on_output? fun(data: string, stream: "stdout"|"stderr") run: is called instead of keeping the output
---@field retry? boolean|integer run: again when the connection was lost, so many times, or until the time is over
---@field on? table pipeline: the target in which this stage runs
local Command = {}

end

do
---@class vmctl.DoctorFinding
---@field name string
---@field ok boolean|"partial"
---@field detail string the observation
---@field advice? string how to make it work; nil when it works
---@field optional boolean guests run without it
local DoctorFinding = {}

end

do
---@class vmctl.ExecClient
local ExecClient = {}

--- Asks as `probe`, also where an answer is kept: tells if the agent answers now. Waits.
---@param timeout? number
---@return "vmctl"|"0.2"|"0.1.9"|nil
---@return string?
---@return string?
function ExecClient:ask(timeout) end

--- Opens a connection to an address as the guest sees it. Waits.
---@param where string|table "tcp:127.0.0.1:80" is a port of the guest itself, "unix:/run/docker.sock" a socket of it (agents of ours alone know that)
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes
---@return string?
---@return string? code EREMOTE with the agent's reason, ENOTSUP
function ExecClient:connect(where, timeout) end

--- Forgets the agent's revision: another agent may replace it. Does not wait.
function ExecClient:forget() end

--- Opens a connection to a TCP port as the guest sees it. Waits.
---@param host string "127.0.0.1" is the guest itself
---@param port integer
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes
---@return string?
---@return string? code EREMOTE with the agent's reason, ENOTSUP
function ExecClient:forward(host, port, timeout) end

--- The address of something inside the guest, for vmctl.dial and for either end of vmctl.forward. Does not wait.
---@param where string|table as for `connect`
---@return vmctl.Address|nil
---@return string?
---@return string? code EINVAL, ENAMETOOLONG
function ExecClient:inside(where) end

--- Lists a folder of the guest. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return { name: string, size: integer, mode: integer, type: string, is_dir: boolean }[]|nil files mode: the permissions with the bits above them; type: "file"
---@return "directory"
---@return "link"
---@return "fifo"
---@return "socket"
---@return "char"
---@return "block"
---@return string?
---@return string?
function ExecClient:list_files(path, opts) end

--- Runs a pipeline of commands here (a stage may name another target with `on`).
---
--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `start`, each with an optional `on` (its target); options by name: stdin (string, stream or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message
---@return string? code ETIMEDOUT, EEXIT (with check), ERESET …
---@return table? result partial
function ExecClient:pipeline(stages) end

--- Finds out the agent's revision. Ours answers a Ready message with its name; the reference's newer revision knows the pipe mode, the
--- older does not (docs/wire/exec.md#message-types). The agent is asked once; the answer is kept until a link to it is lost. Waits.
---@param timeout? number
---@return "vmctl"|"0.2"|"0.1.9"|nil
---@return string?
---@return string?
function ExecClient:probe(timeout) end

--- Reads a file of the guest, of any size. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return string|nil content
---@return string?
---@return string? code EREMOTE with the guest's reason …
function ExecClient:read_file(path, opts) end

--- Waits until the agent answers. It is asked each time. Failed attempts are repeated with growing pauses while the guest boots.
---@param timeout? number seconds, 30 by default
---@return number|nil seconds that it took
---@return string? message with the number of attempts and the last error
---@return string? code ETIMEDOUT
function ExecClient:ready(timeout) end

--- Has our agent set its guest's clock by that of this host, and mix bytes into its kernel's random numbers. Fails unless its answer
--- confirms both. Waits.
---@param what { clock: boolean?, seed: string? }
---@param timeout? number
---@return { clock_offset: number?, reseeded: boolean }|nil done clock_offset: seconds that the guest's clock was ahead
---@return string? message
---@return string? code ENOTSUP: the agent is not ours, an older one, or not the guest's own; EREMOTE: it could not
function ExecClient:refresh(what, timeout) end

--- Runs a command to its end. Waits.
---@param command vmctl.Command|string as for start; further options: stdin (string, stream or function), timeout (seconds for all of it), check (an exit code other than 0 is a failure, code "EEXIT"), max_output (bytes kept of each stream, 64 MiB; of a longer one the head and the tail are kept, and `truncated` says how much is missing), on_output(data, "stdout"|"stderr") (called instead of keeping the output; with an agent of the reference, which mixes up two streams, only merge_stderr and a terminal give output before the end), retry (for a command that may run twice: it is run again when the connection was lost, by a reboot for instance: so many times, or, if true, until the time is over; not with an input that can be read once)
---@return { stdout: string, stderr: string, exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil result: `error` with exit code 126 or 127 of a command that could not be started; `lingering` when a process that it left behind still holds its output, of which nothing more is kept
---@return string? message
---@return string? code ETIMEDOUT, ERESET, ESTALE (another agent is there than the client was told or has found before; nothing was run) …
---@return table? partial the output until then
function ExecClient:run(command) end

--- Starts a command. Waits until the agent has the request.
---@param command vmctl.Command|string a program and its arguments, exactly as given; a string is a shell command. Options by name: cwd, env, user, tty with rows and cols, timeout (of each call of the process), merge_stderr, keep (false: the rest of its process group is killed at its end; else it lives on, with agents of ours), stdin = false for none, "whole" for one that may be gathered before the command begins. (Agents of the reference's revision 0.1.9 give commands no input, see has_stdin; with "whole" the command has an input, and begins when that has been ended.)
---@return vmctl.ExecProcess|nil process with read, write, close_stdin, resize, kill, wait, close
---@return string?
---@return string?
function ExecClient:start(command) end

--- Writes a file in the guest, and creates its folders. An old file is replaced as a whole (by a rename); of a link, its target. Waits.
---@param path string
---@param content string
---@param opts? { mode: integer?, timeout: number? } without a mode an old file keeps its own, and a new one has 0644
---@return true|nil
---@return string?
---@return string? code EREMOTE with the guest's reason …
function ExecClient:write_file(path, content, opts) end

end

do
---@class vmctl.ExecProcess
local ExecProcess = {}

--- Drops the command. An agent of ours ends it. One of the reference is sent SIGKILL for a terminal session, if the connection takes
--- that at once (unread input may prevent it); its newer revision ends other commands, unless their input has been ended, and 0.1.9
--- ends none. Idempotent, never waits.
function ExecProcess:close() end

--- Ends its standard input (in a terminal: the end-of-file character). Waits until that is sent.
---@return true|nil
---@return string?
---@return string?
function ExecProcess:close_stdin(timeout) end

--- Closes its standard output: the next write to it gets SIGPIPE, as in a shell's pipeline.
---@return true|nil
---@return string?
---@return string? code ENOTSUP: only an agent of ours can, and only without a terminal
function ExecProcess:close_stdout(timeout) end

--- Tells if the command has a standard input.
---@return boolean
function ExecProcess:has_stdin() end

--- Sends a signal. Agents of the reference let a command be signalled only with a terminal or a standard input that has not been
--- ended, and a command that is PID 1 of its namespace there ignores most of them, but not "KILL". Waits until it is sent.
---@param signal? string|integer "TERM" by default
---@return true|nil
---@return string?
---@return string? code ENOTSUP: it takes no signals
function ExecProcess:kill(signal, timeout) end

--- Reads the next output, in the order in which it came. Waits.
---@param timeout? number seconds
---@return string|nil data
---@return string stream "stdout" or "stderr"
---@return nil # , message, code: EOF after the last output (then `wait` has the record), ETIMEDOUT, ERESET when the link was lost
function ExecProcess:read(timeout) end

--- Sets the size of its terminal. Waits until that is sent.
---@return true|nil
---@return string?
---@return string? code ENOTTY
function ExecProcess:resize(rows, cols, timeout) end

--- Waits for the end. Unread output is kept for `read` up to 1 MiB; the rest is only counted (`discarded`).
---@param timeout? number seconds
---@return { exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil record: `error` of a command that could not be started (exit code 126 or 127) or whose end the agent did not see; `lingering` when others still hold its output
---@return string? message
---@return string? code ERESET: the link was lost and how the command ended is unknown
function ExecProcess:wait(timeout) end

--- Writes to its standard input. Waits while the command does not read.
---@param data string
---@param timeout? number seconds
---@return true|nil
---@return string?
---@return string? code EPIPE and others; ESRCH once it has ended; ENOTSUP: it was started without a stdin
function ExecProcess:write(data, timeout) end

end

do
---@class vmctl.FleetProgress
local FleetProgress = {}

--- Shows the last line if it was not shown, and ends it. Idempotent; does not wait.
---@return true
function FleetProgress:close() end

--- Shows a line that stays, whenever the last one was: the end of a wave, a failure. One that was the last plain line is there already.
--- Does not wait.
---@param text string
function FleetProgress:say(text) end

--- Shows a line, unless the last one was shown a moment ago. Does not wait.
---@param text string
function FleetProgress:update(text) end

end

do
---@class vmctl.Forward
---@field from vmctl.Address as it was given
---@field to vmctl.Address
local Forward = {}

--- Where others connect: the real port where 0 was asked for.
---@return vmctl.Address
function Forward:address() end

--- Stops listening, ends the open connections, removes a Unix socket's file if it is still the one that was made. Idempotent, never
--- waits: a socket inside a guest is removed while other calls wait.
---@return true
function Forward:close() end

--- Counts, up to this moment.
---@return { connections: integer, open: integer, failed: integer, from_to: integer, to_from: integer, last_error: string?, last_code: string? } connections that came, that are open now, that failed (refused, or the target could not be reached: then the last reason), and bytes each way
function Forward:stats() end

--- Tells if it accepts connections. That says nothing about the target: see `last_error` of `stats`.
---@return "open"|"broken"|"closed" state broken: for now, or for good (the guest has ended)
---@return string? message
---@return string? code why it is broken
function Forward:status() end

--- Waits until it is closed, or can never be connected to again.
---@param timeout? number|{ timeout: number } for ever by default
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT; why it has ended by itself
function Forward:wait(timeout) end

end

do
--- one of content, from, link, folder
---@class vmctl.ImageFile
---@field content? string the bytes
---@field from? string a file of this machine
---@field link? string target of a symbolic link
---@field folder? boolean
---@field mode? integer permissions; else 0755 for folders and for programs that are copied from this machine, 0644
local ImageFile = {}

end

do
---@class vmctl.ImageOptions
---@field output string the image; it is there complete, or as it was before
---@field agent? string static program: /sbin/vmctl-agent, and /init unless there is one
---@field init? string program: /init, the first one that the kernel starts
---@field busybox? string|boolean static busybox (true, that of this machine); false: none
---@field modules_dir? string a copy of /lib/modules/VERSION (no modules)
---@field modules? string[] modules beyond image.default_modules
---@field files? table<string, string|vmctl.ImageFile> path in the guest → content, or a table
---@field compress? boolean gzip it (true)
local ImageOptions = {}

end

do
--- a journal that is read as it comes
---@class vmctl.Journal
local Journal = {}

--- Ends it; a task that waits for an entry gets ECLOSED. Idempotent, never waits.
---@return true
function Journal:close() end

--- An iterator over the entries, which ends where the journal does or is closed. Other failures raise. Each step waits.
---@return fun(): vmctl.JournalEntry|nil
function Journal:entries() end

--- The next entry. Waits.
---@param timeout? number seconds (that of the journal, else 60)
---@return vmctl.JournalEntry|nil entry
---@return string? message
---@return string? code EOF, ETIMEDOUT, ECLOSED, ERESET: the guest was restarted; ENOTSUP
function Journal:next(timeout) end

end

do
---@class vmctl.JournalEntry
---@field time number seconds since 1970
---@field message string
---@field priority? integer 0 (the worst) to 7
---@field unit? string that has said it, or of which systemd speaks
---@field identifier? string the name that its program gives itself
---@field pid? integer
---@field cursor string its position in the journal
---@field fields table<string, any> as the journal has them
local JournalEntry = {}

end

do
---@class vmctl.JournalOptions
---@field unit? string|string[] of these units alone
---@field since? string|number journalctl's text ("-5min", "2026-11-29 10:00"), or seconds since 1970
---@field until? string|number
---@field lines? integer the newest so many entries (1000; of a journal that is followed: 0, or those since `since`)
---@field priority? string|integer the least: "err", "warning" … or 0 to 7
---@field boot? boolean of this start of the guest alone (true)
---@field identifier? string of a program, by its own name
---@field fields? string[] further fields of the journal that `fields` of an entry shall have: "_CMDLINE" …
---@field max_bytes? integer of JSON that are kept of older entries (4 MiB)
---@field follow? boolean those that come as well
---@field timeout? number seconds for all (60); of a journal that is followed: for each entry (`next` 60, `entries` no limit)
---@field user? string as whom journalctl runs
local JournalOptions = {}

end

do
---@class vmctl.L2Control
local L2Control = {}

--- Ends it, and removes the socket. Idempotent; does not wait.
---@return true
function L2Control:close() end

end

do
---@class vmctl.L2ControlClient
local L2ControlClient = {}

--- Asks for an operation: "counts", "ports", "addresses", "forget", "faults" (port, to, faults, direction; without a port: of all),
--- "cut" and "heal" (port, to; heal without a port ends all cuts, and with clear = true all faults), "partition" (groups), "mirror"
--- (port), "link" (port, up), "disconnect" (port), "seed" (seed), "capture" (path, options), "capture_end" (path). Waits.
---@param op string
---@param arguments? table
---@param timeout? number seconds (10)
---@return any|nil value
---@return string?
---@return string? code EINVAL, EPROTO, those of the switch's methods
function L2ControlClient:call(op, arguments, timeout) end

--- Ends the connection; the switch goes on. Idempotent; does not wait.
---@return true
function L2ControlClient:close() end

end

do
---@class vmctl.L2Faults
---@field loss? number the chance that a frame is lost, 0 to 1
---@field loss_every? integer each so many-th frame is lost
---@field gemodel? { p: number, r: number?, bad: number?, good: number? } loss by the model of Gilbert and Elliott, as netem's: the chance to become bad (p) and good again (r: 1 - p), and to lose a frame in the bad (1) and the good state (0)
---@field duplicate? number the chance that it comes twice
---@field corrupt? number the chance that one bit behind the addresses and the type is flipped
---@field delay? number seconds by which each frame comes later
---@field jitter? number seconds: the delay varies by so much, up and down; frames may overtake each other, as with netem
---@field distribution? "uniform"|"normal"|"pareto"|"paretonormal"|number[] of the jitter: uniform goes from -jitter to jitter, of the others it is the standard deviation; a table has up to 256 multiples of the jitter, which are drawn alike
---@field ordered? boolean frames overtake none, and are later for it than asked
---@field reorder? number the chance that a frame is held back, so that later ones overtake it
---@field reorder_by? number seconds for which it is held back (0.02)
---@field loss_correlation? number the chance that a frame's fate is the previous one's; also duplicate_correlation, reorder_correlation, corrupt_correlation, and jitter_correlation (that it is as late as the previous one)
---@field slot? { min: number, max: number?, frames: integer? } frames leave together, at times that lie min to max seconds apart; at most so many at a time
---@field rate? number|string bits a second: 1e7 or "10M"; copies count as well
---@field overhead? integer bytes that each frame takes on the wire beside its own; may be negative
---@field cell? integer frames take whole cells of so many bytes on the wire, and each `cell_overhead` more
---@field burst? integer bytes that go at once after a pause, as tbf's (0)
---@field latency? number seconds for which frames may wait for the rate; further ones are dropped (0.1)
---@field limit? integer frames of one direction that may be delayed at a time, as netem's; further ones are dropped, and counted by the receiver's dropped_full (by default as many as there is memory for)
---@field only? vmctl.L2Match which frames it hits; others pass as if there were no fault
local L2Faults = {}

end

do
---@class vmctl.L2Intercept
local L2Intercept = {}

--- Ends it: the port's frames pass the switch directly again. Frames in the queue are dropped. Idempotent; does not wait.
---@return true
function L2Intercept:close() end

--- How many frames were lost because its queue was full.
---@return integer
function L2Intercept:lost() end

end

do
---@class vmctl.L2Listener
local L2Listener = {}

--- Waits for a connection. Closes connections that `allow` refuses.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return vmctl.L2Port|nil
---@return string?
---@return string? code ECLOSED, ETIMEDOUT
function L2Listener:accept(timeout) end

--- Where it listens.
---@return vmctl.Address|nil
---@return string?
---@return string?
function L2Listener:address() end

--- Stops listening; accepted ports stay. Idempotent, never waits.
---@return true
function L2Listener:close() end

end

do
---@class vmctl.L2Match
---@field to? string the hardware address to which it goes: "52:54:00:12:34:56"
---@field from? string that from which it comes
---@field mac? string one of the two
---@field ethertype? integer behind VLAN tags: 0x0806
---@field protocol? integer|"icmp"|"tcp"|"udp"|"icmpv6" of IPv4 or IPv6 (there: of the first header)
---@field port? integer one of the two ports of TCP or UDP
---@field tcp? "syn"|"syn-ack"|"fin"|"rst" segments of that kind; "syn": without ACK
---@field filter? string an expression of libpcap's, as tcpdump has them; libpcap must be there
---@field nth? integer only the so many-th of these frames, since the fault was set
---@field first? integer from the so many-th on
---@field last? integer to the so many-th
local L2Match = {}

end

do
---@class vmctl.L2Port
local L2Port = {}

--- Our own address, and the peer's.
---@return vmctl.Address|nil
---@return string?
---@return string?
function L2Port:address() end

--- Ends the wire. Idempotent; never waits. Tasks that wait on the port get ECLOSED.
---@return true
function L2Port:close() end

--- Waits until the wire has ended. If no task reads, the end is noticed within a tenth of a second; frames may still be
--- unread then.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return string|nil reason the code: ECLOSED (by `close`), EOF, ECONNRESET, ETOOBIG …
---@return string? message
---@return string? code ETIMEDOUT, ECANCELED
function L2Port:done(timeout) end

--- Our end's own random address: locally administered, unicast. It is never sent, and no frame is filtered by it.
---@return string address as "02:00:5e:10:00:01"
function L2Port:hwaddr() end

--- The peer's address.
---@return vmctl.Address|nil
---@return string?
---@return string?
function L2Port:peer() end

--- Receives one frame, as `recv_many`. Waits.
---@param timeout? number|{ timeout: number } seconds
---@return string|nil frame
---@return string? message
---@return string? code
function L2Port:recv(timeout) end

--- Receives frames: all that are there, at least one. Waits. Frames of 0 to 13 bytes are left out and counted; a length over
--- the limit ends the port.
---@param most? integer 256
---@param timeout? number|{ timeout: number } seconds (60)
---@return string[]|nil frames
---@return string? message
---@return string? code EOF, EPROTO (ended inside a frame), ETOOBIG, EBUSY (another task, or the handler, reads), ECLOSED, ETIMEDOUT
function L2Port:recv_many(most, timeout) end

--- Sends a frame: whole, or not at all. Waits until the kernel has it.
---@param frame string from the destination address on, without FCS; 14 to 65535 bytes
---@param timeout? number|{ timeout: number } seconds (60)
---@return true|nil ok
---@return string? message
---@return string? code EINVAL (too short), ETOOBIG, ECLOSED; EOF: the peer has left; ETIMEDOUT leaves it usable
---@return integer? sent 1: the frame is queued nevertheless, and will go out
function L2Port:send(frame, timeout) end

--- Sends frames in few writes. None is sent if one of them is invalid. Waits.
---@param frames string[]
---@param timeout? number|{ timeout: number } seconds
---@return true|nil ok
---@return string? message
---@return string? code as `send`
---@return integer? sent how many were sent or queued
function L2Port:send_many(frames, timeout) end

--- Calls `fn(frame, port)` for each frame, one after the other, in a task of its own. Reading begins only now, so no earlier
--- frame is lost. Replaces an earlier handler between two frames; nil takes it away, and frames already read are left to
--- `recv`. An error of `fn` is logged. While `fn` waits nothing is read, and the peer has to wait. Does not wait.
---@param fn? fun(frame: string, port: vmctl.L2Port)
---@return true|nil
---@return string?
---@return string? code EBUSY: a task waits in `recv`
function L2Port:set_handler(fn) end

--- Counters: frames_in, bytes_in, frames_out, bytes_out; invalid: frames of 1 to 13 bytes and zero lengths.
---@return table<string, integer>
function L2Port:stats() end

end

do
---@class vmctl.L2Switch
---@field name string
local L2Switch = {}

--- Adds a port with an existing connection: an end of l2.socketpair, an accepted or dialled port, a stream. The switch takes it
--- over; the argument is closed for its former owner. Does not wait.
---@param wire vmctl.L2Port|vmctl.Stream
---@param opts? { name: string? } "port-1" … by default
---@return vmctl.L2SwitchPort|nil
---@return string?
---@return string? code EEXIST, ENOSPC (there are 256), EBUSY (a task uses it), ECLOSED
function L2Switch:add(wire, opts) end

--- The learned addresses: { mac, vlan, port (its name), age (seconds) } each.
---@return table[]|nil
---@return string?
---@return string?
function L2Switch:addresses() end

--- Writes each incoming frame once, in the pcapng format, with one interface per port. A frame has the flag "inbound", and what the
--- faults did to it as a comment: "b: delayed by 0.050000 s; c: dropped (loss)". It never blocks: 4 MiB wait for a pipe's reader, and
--- further frames are left out and counted. A file is created, or emptied; mode 0600. A FIFO need not have a reader: each reader gets a
--- capture of its own, from its start. "-" is the standard output, if that is a pipe, a file or a socket. When a file cannot be
--- written, because the disk is full for instance, that is logged once, `status` says it, and the file ends behind its last whole
--- frame. The capture lasts until it or the switch is closed, also if the handle is not kept.
---@param path string
---@param opts? { snaplen: integer?, max_bytes: integer?, files: integer?, filter: string? } snaplen: bytes of each frame that are kept; max_bytes: of a file; files: so many files of that size are kept, PATH, PATH.1 and so on (1: the capture ends there, and later frames are counted as left out); filter: an expression as tcpdump's, which needs libpcap
---@return vmctl.Capture|nil capture with `close()`, which returns how many frames there were; and `status()`: frames, frames that were left out, bytes that wait; or nil, message and code of the error that ended it
---@return string?
---@return string? code ENOENT, EINVAL (no file or FIFO; a wrong filter), ENOSYS (no libpcap), EPERM, ECLOSED …
function L2Switch:capture(path, opts) end

--- Ends everything: ports with their connections, listeners, taps, captures. Idempotent; does not wait.
---@return true
function L2Switch:close() end

--- Serves a switch on a control socket, until the handle or the switch is closed. Only this user and root may connect. Does not wait.
---@param where string|table "unix:PATH"
---@return vmctl.L2Control|nil control with close()
---@return string?
---@return string? code EADDRINUSE, EINVAL, ECLOSED …
function L2Switch:control(where) end

--- The counters (see those of a port): `total`, of all ports, also removed ones; `ports`, by name; `pairs[from][to]`: frames, bytes
--- and dropped between two ports.
---@return { total: table, ports: table<string, table>, pairs: table<string, table<string, table>> }|nil
---@return string?
---@return string?
function L2Switch:counts() end

--- Lets nothing through between two ports, or (without b) from and to one. Connections stay. Does not wait.
---@param a vmctl.L2SwitchPort|string
---@param b? vmctl.L2SwitchPort|string
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:cut(a, b) end

--- Adds a port whose frames are datagrams. `"unixgram:PATH"` is bound, mode 0600, and its peer is `remote`, or the first sender until
--- it is gone: vfkit and krunkit need no more than the path; for QEMU it is `-netdev dgram,id=n,local.type=unix,local.path=REMOTE,
--- remote.type=unix,remote.path=PATH`. `"udp:HOST:PORT"` needs a `remote`; both are numeric, and loopback unless everybody who can reach
--- the address may send frames. A port without a peer is connected; frames to it are counted as dropped_full. Frames that a full peer
--- does not take wait in the port's queue. Does not wait.
---@param where string
---@param opts? { remote: string?, name: string? } name: "port-1" … by default
---@return vmctl.L2SwitchPort|nil
---@return string?
---@return string? code EINVAL, EADDRINUSE, EACCES, EEXIST, ENOSPC, ECLOSED …
function L2Switch:datagrams(where, opts) end

--- Adds a port that dials a listening QEMU, and dials again with growing pauses after a failure or the connection's end. (QEMU
--- 7.2 should listen: as a client it never reconnects.) The port stays, and frames to it are dropped meanwhile. Does not wait:
--- see `wait_connected` and `state` of the port.
---@param where string|table|function as for l2.dial
---@param opts? { name: string?, redial: boolean?, timeout: number? } redial: true by default; timeout: seconds of one dial (10)
---@return vmctl.L2SwitchPort|nil
---@return string?
---@return string? code EINVAL, EEXIST, ENOSPC, ECLOSED
function L2Switch:dial(where, opts) end

--- Sets the faults of frames between two ports, in place of earlier ones; nil clears them. A port's own
--- faults come on top. At once; does not wait.
---@param a vmctl.L2SwitchPort|string
---@param b vmctl.L2SwitchPort|string
---@param wanted? vmctl.L2Faults
---@param opts? { direction?: "both"|"one" } one: only frames from a to b; "both" by default
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:faults(a, b, wanted, opts) end

--- Sets the faults of frames from each port, those that join later included, in place of earlier ones; nil clears them. Faults between
--- two ports, and of frames to a port, stay. Does not wait.
---@param wanted? vmctl.L2Faults
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:faults_of_all(wanted) end

--- Forgets all addresses: frames are flooded until the addresses are learned again.
---@return true|nil
---@return string?
---@return string?
function L2Switch:forget() end

--- Ends cuts: all of them and the partition; of one port; or between two. With `{ faults = true }` all faults end as well.
---@param a? vmctl.L2SwitchPort|string|{ faults: boolean }
---@param b? vmctl.L2SwitchPort|string
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:heal(a, b) end

--- Handles a frame as if it had come from a port. Does not wait.
---@param port vmctl.L2SwitchPort|string
---@param frame string 14 to 69632 bytes
---@return true|nil
---@return string?
---@return string? code EINVAL, ECLOSED
function L2Switch:inject(port, frame) end

--- Has `fn(frame, port)` decide about frames that come from a port, before its faults. It returns nothing or true: the frame goes on;
--- false: it is dropped; a string: that frame goes on instead; an array: all of its frames. It may wait; later frames of its own wait for
--- it, and other frames overtake them. Its errors are logged, and the frame goes on. It is meant for rare frames, which `only` selects:
--- a frame for which its queue has no room is dropped and counted. Captures have the frames as they came, with the comment "taken".
--- Does not wait.
---@param port vmctl.L2SwitchPort|string
---@param fn fun(frame: string, port: vmctl.L2SwitchPort): nil|boolean|string|string[]
---@param opts? { only: vmctl.L2Match?, queue: integer? } queue: bytes that may wait for it (1 MiB)
---@return vmctl.L2Intercept|nil intercept with close() and lost()
---@return string?
---@return string? code ECLOSED
function L2Switch:intercept(port, fn, opts) end

--- Listens for QEMUs that connect. Each connection becomes a port: "NAME-1", "NAME-2" …; with `ports = 1` there is one, called
--- NAME. A port whose connection has ended stays, with its faults and counts, and the next connection gets it: give each guest
--- its own address if it must keep its port. Waits only to resolve a name.
---@param where string|table as for l2.listen
---@param opts? { name: string?, ports: integer?, backlog: integer?, mode: integer?, allow?: function|table } ports: at most so many (256)
---@return vmctl.L2SwitchListener|nil listener with address, ports, close
---@return string?
---@return string? code ECLOSED, EADDRINUSE …
function L2Switch:listen(where, opts) end

--- Lets other switches make trunks to this one. Each becomes a port NAME-1, NAME-2 …, which is removed when its trunk ends. Without a
--- key it must be a Unix socket, where this user and root may connect. Waits only to resolve a name.
---@param where string|table "tcp:HOST:PORT", "unix:PATH", "vsock:CID:PORT"
---@param opts? table as for `trunk`, and allow: see vmctl.net.access (whoever has the key); backlog; mode: of a Unix socket's file (0600); on_trunk: is called with each trunk, and must not wait; timeout: seconds (10) in which a connection must have joined
---@return vmctl.L2TrunkListener|nil listener with address, trunks, close
---@return string? message
---@return string? code EACCES (no key), EADDRINUSE, ECLOSED …
function L2Switch:listen_trunks(where, opts) end

--- Makes a port the mirror: it gets a copy of every frame that comes in, before any fault, and nothing else. nil: no port is.
---@param port? vmctl.L2SwitchPort|string
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:mirror(port) end

--- Splits the network: frames pass only between ports of one group. All other ports, also those that
--- join later, form one more group. Replaces an earlier partition. Does not wait.
---@param groups (vmctl.L2SwitchPort|string)[][]
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2Switch:partition(groups) end

--- The port of that name.
---@param name string
---@return vmctl.L2SwitchPort|nil
function L2Switch:port(name) end

--- All ports, in the order of their numbers.
---@return vmctl.L2SwitchPort[]
function L2Switch:ports() end

--- The seed of the faults; sets it if given, and they begin anew. The n-th frame of a direction (from a port, to a port, from one
--- to another) has the same faults in every run with that seed, if ports are added in the same order.
---@param seed? integer
---@return integer|nil
---@return string?
---@return string?
function L2Switch:seed(seed) end

--- Calls `fn(frame, port)` once for each incoming frame, before any fault. It may wait: when its queue is full (`queue` bytes,
--- 4 MiB) the switch waits as well, or, if `lossy`, frames are left out and counted. Its errors are logged.
---@param fn fun(frame: string, port: vmctl.L2SwitchPort)
---@param opts? { lossy: boolean?, queue: integer? }
---@return vmctl.L2Tap|nil tap with close() and lost()
---@return string?
---@return string?
function L2Switch:tap(fn, opts) end

--- Joins this switch with one at the other end of a stream: another process's, or another machine's. At each end the trunk is a port,
--- with faults and counts as any. Each network is joined with the one of that name. A trunk that would close a ring is refused with ELOOP.
--- Without encryption: over a network that others reach let ssh carry it, `"exec:ssh HOST vmctl switch --trunk - …"`. Waits until it is
--- joined. When it ends the addresses learnt there are forgotten, its ports are "ended", and it is not dialled again.
---@param where string|table|function|vmctl.Stream an address as for vmctl.dial ("tcp:HOST:PORT" needs a key), or a stream, which it takes
---@param opts? { name: string?, network: string?, with: table<string, vmctl.L2Switch>?, key: string?, key_file: string?, keepalive: number?, timeout: number?, on_end: fun(trunk: vmctl.L2Trunk, message: string, code: string)? } name: of its ports ("trunk-1" …); network: the name of this switch's network at both ends (the switch's name); with: further switches, by their networks' names; key: the shared key, 16 to 4,096 random bytes, or the file that has it; keepalive: seconds (15) for which the other end may not answer; timeout: seconds (10) until it is joined; on_end: is called when it has ended, and must not wait
---@return vmctl.L2Trunk|nil trunk with port(network), state, wait_end, close
---@return string? message
---@return string? code EACCES (the keys), ELOOP, ENOENT (a network is at one end alone), EPROTO, ETIMEDOUT, ECONNREFUSED …
function L2Switch:trunk(where, opts) end

--- Adds an uplink port. `"passt"`: this machine's passt, in a process of its own that ends with the port; guests get this
--- machine's own address, and their traffic goes through its sockets. `"user"`: a network 10.0.2.0/24 by libslirp, as QEMU's own:
--- the gateway 10.0.2.2, DHCP from 10.0.2.15 on, a name server 10.0.2.3; the guests' traffic goes through sockets of this
--- process, in a thread. `{ tap = … }`: a TAP device, created if there is none of that name, and then removed with the port; for
--- "%d" in it the kernel chooses a number, and the port's `device` is the name. Configure it with `ip`; docs/networks.md says
--- how. Does not wait.
---@param where "user"|"passt"|{ [1]: "user"|"passt"|nil, tap: string?, name: string?, restricted: boolean?, host_loopback: boolean?, ipv6: boolean?, args: string[]? } name: of the port ("uplink"); for "user" and "passt": restricted: guests reach only that network's own services; host_loopback: the gateway (10.0.2.2) leads to this machine's loopback (false); ipv6: IPv6 as well (true); args: more arguments of passt
---@return vmctl.L2SwitchPort|nil
---@return string?
---@return string? code ENOSYS (no libslirp, no passt), EPERM and EBUSY (of the device), EEXIST, ECLOSED
function L2Switch:uplink(where) end

end

do
---@class vmctl.L2SwitchListener
local L2SwitchListener = {}

--- Where it listens.
---@return vmctl.Address|nil
---@return string?
---@return string?
function L2SwitchListener:address() end

--- Stops listening; its ports stay. Idempotent; does not wait.
---@return true
function L2SwitchListener:close() end

--- Its ports.
---@return vmctl.L2SwitchPort[]
function L2SwitchListener:ports() end

end

do
---@class vmctl.L2SwitchPort
---@field name string
local L2SwitchPort = {}

--- Connects it to a port of l2 or a stream, which it takes over. Does not wait.
---@param wire vmctl.L2Port|vmctl.Stream
---@return true|nil
---@return string?
---@return string? code EBUSY (it has a connection, or the wire is in use), ECLOSED
function L2SwitchPort:attach(wire) end

--- Its counters: frames_in, bytes_in, frames_out, bytes_out, dropped_full and dropped_long (to it), dropped_cut,
--- dropped_loss, dropped_rate and dropped_link (from it; the last: to 01:80:c2:00:00:00 to 0f, or from a group's address), invalid,
--- duplicated, corrupted, delayed, flooded; queued: bytes in its queue.
---@return table<string, integer>|nil
---@return string?
---@return string? code ECLOSED
function L2SwitchPort:counts() end

--- Drops all frames in both directions until `heal`. The connection stays.
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2SwitchPort:cut() end

--- Ends its connection; the port stays, and can be connected again (one that dials does so by itself). Does not wait.
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2SwitchPort:disconnect() end

--- Sets the faults of frames from it, to it, or both, in place of earlier ones; nil clears them. At once.
---@param wanted? vmctl.L2Faults
---@param opts? { direction?: "from"|"to"|"both" } "both" by default
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2SwitchPort:faults(wanted, opts) end

--- Ends `cut`; its faults are as before.
---@return true|nil
---@return string?
---@return string? code ECLOSED
function L2SwitchPort:heal() end

--- Tells if frames from it or to it meet a fault of the port's own, or a cut. Does not wait.
---@return boolean
function L2SwitchPort:is_faulty() end

--- Sets the function that tells the guest at this port that its link is down or up: `set_link` calls `fn(up)`, which may wait. For a
--- machine of ours it is `function(up) return vm:set_link(1, up) end`. nil: it cannot be told. Does not wait.
---@param fn? fun(up: boolean): true|nil, string?, string
---@return true
function L2SwitchPort:on_link(fn) end

--- Removes it and its connection. Idempotent; does not wait.
---@return true
function L2SwitchPort:remove() end

--- Takes its link down, or up again: nothing passes, as with `cut`, and the guest is told if `on_link` says how. Waits as that does.
---@param up boolean
---@return true|nil
---@return string?
---@return string? code ECLOSED; those of the function that tells the guest, and then the port is cut all the same
function L2SwitchPort:set_link(up) end

--- The state of its connection. Does not wait.
---@return "connected"|"waiting"|"dialling"|"ended"|"gone" state waiting: there was no connection yet
---@return string? reason of "ended": EOF, ETOOBIG, ECONNRESET …; of "dialling": the code of the last failure
---@return integer epoch how many connections there were, this one included
function L2SwitchPort:state() end

--- Waits until it is connected.
---@param timeout? number|{ timeout: number } seconds (30)
---@return integer|nil epoch
---@return string?
---@return string? code ETIMEDOUT, ECLOSED (it was removed), ECANCELED
function L2SwitchPort:wait_connected(timeout) end

end

do
---@class vmctl.L2Tap
local L2Tap = {}

--- Ends it; its function is not called any more. Idempotent; does not wait.
---@return true
function L2Tap:close() end

--- How many frames a lossy tap has left out.
---@return integer
function L2Tap:lost() end

end

do
---@class vmctl.L2Trunk
---@field name string
local L2Trunk = {}

--- Ends it at both ends, and removes its ports here. Idempotent; does not wait.
---@return true
function L2Trunk:close() end

--- The name of the other end in messages.
function L2Trunk:far() end

--- The names of its networks, sorted. Does not wait.
---@return string[]
function L2Trunk:networks() end

--- Its port at the switch of a network: for faults, cuts and counts. Does not wait.
---@param network? string that of the switch which made the trunk, by default
---@return vmctl.L2SwitchPort|nil
function L2Trunk:port(network) end

--- Its state. Does not wait.
---@return "joined"|"ended" state
---@return string? message why it has ended
---@return string? code EOF, ETIMEDOUT, ELOOP, ECLOSED …
function L2Trunk:state() end

--- Waits until it has ended.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return string|nil code why: EOF, ETIMEDOUT (the other end fell silent), ELOOP, ECLOSED …
---@return string message
---@return string? code ETIMEDOUT, ECANCELED: it has not ended
function L2Trunk:wait_end(timeout) end

end

do
---@class vmctl.L2TrunkListener
local L2TrunkListener = {}

--- Where it listens.
---@return vmctl.Address|nil
---@return string?
---@return string?
function L2TrunkListener:address() end

--- Stops listening; its trunks stay. Idempotent; does not wait.
---@return true
function L2TrunkListener:close() end

--- The trunks that came here and are joined. Does not wait.
---@return vmctl.L2Trunk[]
function L2TrunkListener:trunks() end

end

do
---@class vmctl.Lock
local Lock = {}

--- Takes it; `release` must always follow (`with` calls it). Waits while another task has it.
---@param timeout? number|{ timeout: number } seconds
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT, ECANCELED
function Lock:acquire(timeout) end

--- Tells if a task has it.
function Lock:held() end

--- Releases it. Hands it to the task that has waited longest, so that no later one overtakes it. Never waits.
function Lock:release() end

--- Runs `fn(…)` while holding the lock, and always releases it. Waits for the lock.
---@param timeout? number seconds to wait for the lock
---@return any # ... what fn returned
---@return nil # , message, code if the lock was not free in time
function Lock:with(timeout, fn, ...) end

end

do
---@class vmctl.Machine
---@field name string
---@field pid? integer QEMU's, if it runs on this machine
---@field host? string the other machine that it runs on, where QEMU's number is `host_pid`
---@field command string[] QEMU's command line
---@field accel "kvm"|"tcg"
---@field accel_reason string why it is that
---@field boot? "ours"|"kernel"|"firmware" of a guest with a root: our kernel, the disk's own, or what its loader starts
---@field boot_reason? string why it is that
---@field macs string[] of its network cards
---@field clock_source? string the clock of its kernel, once wait_ready has got it from an agent of ours
local Machine = {}

--- Adds a port. The guest sees it as /dev/virtio-ports/NAME, or as a /dev/vportNpM whose name is in /sys/class/virtio-ports. QEMU's own
--- guest agent is reached through such a port: `vmctl.qga.connect(function() return stream end)`. Waits.
---@param name string "org.qemu.guest_agent.0" for instance
---@return vmctl.Stream|nil stream the host's end, which the caller closes; the port itself is removed with the machine
---@return string? message
---@return string? code EBUSY: a port has that name; ENOTSUP: the guest is reached over vsock, and has no virtio-serial bus
---@return table? problem
function Machine:add_port(name) end

--- The address of a port of the guest's agent, for vmctl.dial and the protocols' clients.
---@param port integer
---@return vmctl.Address
function Machine:address(port) end

--- Tells how the agent of a guest with a root was started: "stage1", "initrd" (appended to the disk's own), or with boot = "firmware"
--- "extra-unit", "tmpfiles" or "qemu-ga". Waits.
---@return string|nil way
---@return string?
---@return string? code ENOENT: it has no root
function Machine:agent_came_by() end

--- Closes the machine; QEMU is killed if it still runs. Idempotent, never waits.
---@return true
function Machine:close() end

--- Returns the confinement that the kernel applies to its QEMU. Does not wait.
---@return { sandbox: boolean, no_new_privileges: boolean, capabilities: boolean, core_dumps: boolean, uid: integer, gid: integer, open_files: integer?, landlock: integer|false, user_reason: string }|nil sandbox: a filter of system calls; capabilities: it has some; uid, gid: of a user of its own, or ours; user_reason: why; open_files: at most; landlock: the version of Landlock that keeps it from other files than its own
---@return false # : it may use others
---@return string? message
---@return string? code ECLOSED, ERESET: it has ended
function Machine:confinement() end

--- Opens a connection to an address as the guest sees it. Waits.
---@param where string|table "tcp:127.0.0.1:80" is a port of the guest itself, "unix:/run/docker.sock" a socket of it (agents of ours alone know that)
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes
---@return string?
---@return string? code EREMOTE with the agent's reason, ENOTSUP
function Machine:connect(where, timeout) end

--- The guest's console output: the last part, up to `console_size` bytes (256 KiB).
---@return string
function Machine:console() end

--- Tells if the whole console output is in the file that `console_log` names: a full disk is logged once, and told here. Does
--- not wait.
---@return true|nil
---@return string?
---@return string? code ENOSPC, EIO …
function Machine:console_status() end

--- Types on the guest's console.
---@return true|nil
---@return string?
---@return string?
function Machine:console_write(bytes, timeout) end

--- Removes a snapshot. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table? ENOENT
function Machine:delete_snapshot(name, opts) end

--- The number of the guest's epoch: 1 from its launch on, one more after each reset, reboot or restore. Connections into the guest end
--- with an epoch. Does not wait.
---@return integer
function Machine:epoch() end

--- An iterator over QEMU's events from now on, as vmctl.QmpClient.events gives it. Waits until the monitor is connected.
---@param opts? number|{ timeout: number? } seconds for each event
---@return function|nil iterator
---@return string?
---@return string?
function Machine:events(opts) end

--- Runs a command to its end. Waits.
---@param command vmctl.Command|string as for start; further options: stdin (string, stream or function), timeout (seconds for all of it), check (an exit code other than 0 is a failure, code "EEXIT"), max_output (bytes kept of each stream, 64 MiB; of a longer one the head and the tail are kept, and `truncated` says how much is missing), on_output(data, "stdout"|"stderr") (called instead of keeping the output; with an agent of the reference, which mixes up two streams, only merge_stderr and a terminal give output before the end), retry (for a command that may run twice: it is run again when the connection was lost, by a reboot for instance: so many times, or, if true, until the time is over; not with an input that can be read once)
---@return { stdout: string, stderr: string, exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil result: `error` with exit code 126 or 127 of a command that could not be started; `lingering` when a process that it left behind still holds its output, of which nothing more is kept
---@return string? message
---@return string? code ETIMEDOUT, ERESET, ESTALE (another agent is there than the client was told or has found before; nothing was run) …
---@return table? partial the output until then
function Machine:exec(command) end

--- Passes the kept console output and then all further output to `take`, until `take` returns false or nil, or the console ends. A
--- `take` that is slower than the console misses output that is no longer kept. Waits.
---@param take fun(data: string): any
---@return true|nil
---@return string?
---@return string? code ECANCELED
function Machine:follow_console(take) end

--- Opens a connection to a TCP port as the guest sees it. Waits.
---@param host string "127.0.0.1" is the guest itself
---@param port integer
---@param timeout? number
---@return vmctl.Stream|nil stream of raw bytes
---@return string?
---@return string? code EREMOTE with the agent's reason, ENOTSUP
function Machine:forward(host, port, timeout) end

--- The address of something inside the guest ("unix:/run/docker.sock", "tcp:127.0.0.1:80"), for vmctl.dial and for either end of
--- vmctl.forward (as `from` a socket is in /run/socketfwd, unless the agent was told of other folders). Does not wait.
---@param where string|table
---@return vmctl.Address|nil
---@return string?
---@return string? code EINVAL, ENAMETOOLONG
function Machine:inside(where) end

--- Reads the guest's journal. Waits for the entries that are there; with `follow` only until journalctl runs.
---@param opts? vmctl.JournalOptions unit, since, until, lines, priority, boot, identifier, fields, max_bytes, follow, timeout, user
---@return vmctl.JournalEntry[]|vmctl.Journal|nil entries the oldest first: each with time, message, priority, unit, identifier, pid, cursor and fields; `dropped` is the number of those that were too many. With `follow` a journal with `next`, `entries` and `close`
---@return string?
---@return string? code ENOTSUP: the guest has no journalctl; EREMOTE: with its words; ETIMEDOUT …
function Machine:journal(opts) end

--- Ends QEMU at once, and waits for that.
---@return true|nil
---@return string?
---@return string? code ECLOSED
function Machine:kill() end

--- Names the peers of the network cards that are on sockets. Waits.
---@return { card: integer, type: string, info: string, connected: boolean }[]|nil links info: QEMU's words for it
---@return string?
---@return string?
function Machine:links() end

--- Lists a folder of the guest. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return { name: string, size: integer, mode: integer, type: string, is_dir: boolean }[]|nil files mode: the permissions with the bits above them; type: "file"
---@return "directory"
---@return "link"
---@return "fifo"
---@return "socket"
---@return "char"
---@return "block"
---@return string?
---@return string?
function Machine:list_files(path, opts) end

--- Calls `fn(number, why)` whenever a new epoch begins, in a task of its own: why is "reset", "reboot" or "restore". Does not wait.
---@return fun() cancel ends it
function Machine:on_epoch(fn) end

--- Stops the guest's processors until `resume`. Waits until they have stopped. Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table? as vmctl.QmpClient.execute, here and below
function Machine:pause() end

--- Runs a pipeline whose stages run in this guest unless they name another target with `on`.
---
--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `start`, each with an optional `on` (its target); options by name: stdin (string, stream or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message
---@return string? code ETIMEDOUT, EEXIT (with check), ERESET …
---@return table? result partial
function Machine:pipeline(stages) end

--- Presses the power button. Waits for QEMU's answer only; `wait` shows if the guest powers off (a microvm, and an init without ACPI,
--- ignore the button; `shutdown` asks the agent).
---@return true|nil
---@return string?
---@return string?
---@return table?
function Machine:powerdown() end

--- Brings the guest into a declared state.
---
--- Brings a guest into a declared state. The set is validated before the first step, so an invalid one changes nothing. The order
--- is: groups, users, mounts (later paths may be on them), files, ssh keys, secrets, units, and the configuration last, because the
--- guest acts on it at once. Steps are idempotent. Waits.
---
--- Users and groups that are there stay, and get the groups that they lack; false in place of the table removes them. Units are read by
--- the guest's systemd before anything is changed (systemd-analyze verify): one with a line that it would ignore is refused. All are
--- written, then enabled, started, and waited for; a changed one that is active is started again, and one that does not come up is a
--- failure with the tail of its journal.
---
--- Secrets are kept in the guest's memory, are masked in the log during the push, and are in no error. The
--- configuration is a file that every user of the guest may read: [secrets] is removed from it, unless `keep_secrets` is set.
---
--- The control plane does the steps that it knows; files and other steps go through commands, if the target runs any. Commands
--- compare contents in the guest, receive them on standard input, and replace files as a whole, with owner and mode. The limits of
--- a shell are in vmctl.config.shell_scripts.
---@param set table|string the declared state; a string is its configuration, the jcard.toml, alone
---@param opts? table
---@return { changed: boolean, steps: table[], notes: string[], target: string, planned: boolean? }|nil report each step: kind, name, changed (nil: the guest does not say), via ("stereos" or "exec"), seconds, note; tostring gives text for people
---@return string? message
---@return string? code EINVAL, ETOOBIG, EREMOTE (with the guest's message), ENOTSUP, ETIMEDOUT …
---@return table? report up to the failed step: `failed` has message and code, and kind and name if a step failed; `failures` lists all failed steps. A mount that this client has done before stays as it was. One that a guest without commands refuses, and which may be there already, is a failure that does not end the push
function Machine:push_config(set, opts) end

--- The client of QEMU's monitor: connected at the first call and closed with the machine. Waits at the first call.
---@param timeout? number seconds, 30 by default
---@return vmctl.QmpClient|nil
---@return string?
---@return string? code ECLOSED, ETIMEDOUT, ERESET: QEMU has ended
function Machine:qmp(timeout) end

--- Reads a file of the guest, of any size. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return string|nil content
---@return string?
---@return string? code EREMOTE with the guest's reason …
function Machine:read_file(path, opts) end

--- Removes a port from the guest; the host's stream ends. Waits.
---@param opts? number|{ timeout: number? } seconds, 10 by default
---@return true|nil
---@return string?
---@return string?
---@return table? ENOENT: no such port was added; ETIMEDOUT: the guest has not released it
function Machine:remove_port(name, opts) end

--- Resets the guest, like the reset button. The guest boots again (see `wait_ready`), and a new epoch begins: calls in flight fail with
--- ERESET. Waits until the reset is done.
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return true|nil
---@return string?
---@return string?
---@return table?
function Machine:reset(opts) end

--- Restores the guest from a snapshot: one of its own or, with `path`, one of another machine that was launched with the same options
--- and has ended (QEMU locks an open file), on the same processor model and QEMU version. A new epoch begins: calls in flight fail with
--- ERESET. Waits until the agent has answered, set the guest's clock and reseeded its random numbers; for a guest that was paused when
--- it was saved, `resume` does that.
---@param name string
---@param opts? number|{ timeout: number?, path: string?, agent: boolean? } seconds for all of it, 120 by default; agent: false for a guest that has no agent to wait for
---@return true|nil
---@return string?
---@return string?
---@return table? ENOENT: no snapshot has that name; EREMOTE: it does not match the machine, and the guest is stopped; ETIMEDOUT: the guest runs, but its agent does not answer
function Machine:restore(name, opts) end

--- Lets the guest's processors run. If the guest's agent has answered before, waits at most 10 seconds until it has set the clock and
--- reseeded the random numbers. Idempotent.
---@return true|nil
---@return string?
---@return string?
---@return table? as vmctl.QmpClient.execute
function Machine:resume() end

--- Runs a command to its end. Waits.
---@param command vmctl.Command|string as for start; further options: stdin (string, stream or function), timeout (seconds for all of it), check (an exit code other than 0 is a failure, code "EEXIT"), max_output (bytes kept of each stream, 64 MiB; of a longer one the head and the tail are kept, and `truncated` says how much is missing), on_output(data, "stdout"|"stderr") (called instead of keeping the output; with an agent of the reference, which mixes up two streams, only merge_stderr and a terminal give output before the end), retry (for a command that may run twice: it is run again when the connection was lost, by a reboot for instance: so many times, or, if true, until the time is over; not with an input that can be read once)
---@return { stdout: string, stderr: string, exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil result: `error` with exit code 126 or 127 of a command that could not be started; `lingering` when a process that it left behind still holds its output, of which nothing more is kept
---@return string? message
---@return string? code ETIMEDOUT, ERESET, ESTALE (another agent is there than the client was told or has found before; nothing was run) …
---@return table? partial the output until then
function Machine:run(command) end

--- Takes a picture of the guest's screen, as PNG. Waits until it is written, by QEMU itself,
--- which gets the open file. After a failure the old file is still there.
---@param path string of a file that is this user's alone then (0600)
---@return true|nil
---@return string?
---@return string?
---@return table? EREMOTE: the guest has no `display`, or the file cannot be written; EPERM (another user's file), ELOOP (a link)
function Machine:screendump(path) end

--- Types a text on a US keyboard, about 40 characters a second. Waits until it is typed.
---@param text string ASCII; a line feed is the return key
---@return true|nil
---@return string?
---@return string?
---@return table? EINVAL: the keyboard does not have a character; nothing was typed
function Machine:send_chars(text) end

--- Presses keys together: "ctrl-alt-delete", "f2", "ret", "minus". Waits for QEMU's answer only.
---@param chord string QEMU's names of keys, joined by "-"
---@return true|nil
---@return string?
---@return string?
---@return table? EREMOTE: no such key
function Machine:send_key(chord) end

--- Sets the carrier of a network card, as if its cable were plugged in or out. Waits.
---@param nic integer the card's index in `nics`, from 1
---@param up boolean
---@return true|nil
---@return string?
---@return string?
---@return table? EINVAL: no card has this index
function Machine:set_link(nic, up) end

--- Powers the guest off: asks its agent, then waits for QEMU's end.
---@param opts? { timeout: number? }|number seconds, 20 by default; a guest that needs longer is killed
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT: it had to be killed
function Machine:shutdown(opts) end

--- Saves the guest's state under a name: memory, devices, and all writable disks, which must be qcow2. The guest is stopped meanwhile,
--- and its clock is set afterwards. Only a QEMU of the same version, on a processor of the same model, can load the state. Waits.
---@param name string a new one
---@param opts? number|{ timeout: number?, path: string? } seconds, 120 by default; path: the image file, which is made if it does not exist, and kept; by default a private one, which is removed with the machine
---@return true|nil
---@return string?
---@return string?
---@return table? EREMOTE: a disk cannot be saved, the name is taken, another machine has `path` open …
function Machine:snapshot(name, opts) end

--- Forwards sockets of the guest to sockets of this host: see vmctl.socketforward.forward. All forwarders
--- share one connection to the guest, which is opened again after a loss, and closed with the machine. Waits until the guest has bound
--- the sockets.
---
--- The host's side. Waits.
---
--- Forwards sockets of a guest to sockets of this host. Waits until the guest has bound them.
---@param entries table<string, table>
---@param opts? table
---@return vmctl.SocketForwarder|nil
---@return string?
---@return string? code ECLOSED, ERESET: QEMU has ended
function Machine:socketforward(entries, opts) end

--- Starts a command. Waits until the agent has the request.
---@param command vmctl.Command|string a program and its arguments, exactly as given; a string is a shell command. Options by name: cwd, env, user, tty with rows and cols, timeout (of each call of the process), merge_stderr, keep (false: the rest of its process group is killed at its end; else it lives on, with agents of ours), stdin = false for none, "whole" for one that may be gathered before the command begins. (Agents of the reference's revision 0.1.9 give commands no input, see has_stdin; with "whole" the command has an input, and begins when that has been ended.)
---@return vmctl.ExecProcess|nil process with read, write, close_stdin, resize, kill, wait, close
---@return string?
---@return string?
function Machine:start(command) end

--- QEMU's run state of the guest: "running", "paused", "shutdown", "guest-panicked" … Waits.
---@return string|nil status
---@return string?
---@return string? code ERESET: QEMU has ended
function Machine:status() end

--- The client of the guest's StereOS control plane (port 1024): made at the first call, which alone may have options, and closed
--- with the machine. A call with an address makes it anew: for a control plane that is reached otherwise (a forwarded TCP port,
--- say), and is then what vmctl.ready, config.push and shutdown use. Does not wait.
---@param opts? table of vmctl.stereos.client, and address
---@return vmctl.StereosClient|nil
---@return string?
---@return string? code ECLOSED, ERESET: QEMU has ended; EINVAL: the address
function Machine:stereos(opts) end

--- Sets the guest's clock to that of this host, through its agent. Waits. vmctl does so by itself after `resume`, `snapshot` and
--- `restore`, and after a suspension of this host.
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return number|nil offset seconds by which the guest's clock was ahead; below 0: late
---@return string? message
---@return string? code EREMOTE: its agent may not set the clock; else as `run`
function Machine:sync_clock(opts) end

--- Calls the guest's systemctl. Waits.
---@param words string[]|string a string is split at its spaces
---@param opts? { timeout: number?, user: string? } seconds (120); user: the service manager of that user, who must be logged in
---@return table|nil record as of `run`: an exit code other than 0 is a result
---@return string?
---@return string? code ENOTSUP: the guest has no systemctl
function Machine:systemctl(words, opts) end

--- A unit of the guest's systemd, with start, stop, restart, reload, enable, disable, mask, unmask, reset_failed, is_active, show, wait and
--- journal. Does not wait.
---@param name string "nginx.service"
---@param opts? { user: string? } of that user's service manager
---@return vmctl.Unit
function Machine:unit(name, opts) end

--- Waits until the guest has ended.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record of QEMU's end
---@return string?
---@return string? code ETIMEDOUT, ECLOSED
function Machine:wait(timeout) end

--- Waits until the console shows a Lua pattern, in its kept or its further output. A match has 2 KiB at most.
---@param pattern string
---@param opts? { timeout: number?, plain: boolean? }|number
---@return string|nil match
---@return string?
---@return string? code ETIMEDOUT, EOF when the guest has ended
function Machine:wait_console(pattern, opts) end

--- Waits for an event of QEMU, as vmctl.QmpClient does, or for QEMU's end. Events are kept from the first use of the monitor on.
--- A kernel panic ends QEMU; GUEST_PANICKED comes before that if the guest has a panic device and its module (on q35 `args`
--- with "-device", "pvpanic-pci", in the image `modules` with "pvpanic-pci").
---@param what string|fun(event: table): boolean
---@param opts? number|{ timeout: number? } seconds, 60 by default
---@return table|nil event
---@return string? with the console's last lines
---@return string? code ETIMEDOUT, ECLOSED; ERESET: QEMU has ended (returns at once)
function Machine:wait_event(what, opts) end

--- Waits until the guest's agent answers, which is asked each time, or, with target "system", until its init has started all services.
--- Of systemd that is the state "running", of OpenRC its default level; a guest without them is up when its agent answers.
--- `vm.clock_source` is then the clock of its kernel, if the agent is ours. The log warns of a clock that may run slow, and of network
--- cards without a peer.
---@param opts? { timeout: number?, target: "agent"|"system"? }|number seconds for all of it, 60 by default
---@return number|nil seconds since the call
---@return string? message with the console's last lines; of a system that is degraded with its failed units and the tails of their journals; of one that is late with the units that are still starting
---@return string? code ETIMEDOUT; ERESET: QEMU has ended; EREMOTE: the system is degraded
---@return { state: string, failed: string[]?, jobs: string[]? }? details of the system
function Machine:wait_ready(opts) end

--- Writes a file in the guest, and creates its folders. An old file is replaced as a whole (by a rename); of a link, its target. Waits.
---@param path string
---@param content string
---@param opts? { mode: integer?, timeout: number? } without a mode an old file keeps its own, and a new one has 0644
---@return true|nil
---@return string?
---@return string? code EREMOTE with the guest's reason …
function Machine:write_file(path, content, opts) end

end

do
--- the first element is "user"
---@class vmctl.MachineNetwork
---@field [1] "none"|"user"
---@field out? boolean access to the outside, and a name server (false)
---@field host_loopback? boolean with `out`: its gateway leads to this machine's loopback (false)
local MachineNetwork = {}

end

do
---@class (exact) vmctl.MachineOptions
---@field kernel? string without it: $VMCTL_KERNEL, or that of a checkout (`make guest`)
---@field initrd? string without it and without `kernel` and `root`: $VMCTL_INITRD, or the image of a checkout
---@field root? string|vmctl.MachineRootOptions its root file system: "disk:FILE", "disk:FILE#PARTITION" (raw or qcow2), "erofs:FILE", or what vmctl.rootfs.image takes ("oci:DIR", "docker://NAME", "image:NAME", "dir:PATH", "tar:FILE" …); stage 1 moves into it
---@field init? "agent"|"system"|string[] what becomes PID 1: the agent (default for images), the root's own init with the agent beside it (default for disks, and for folders that have one), or a command with the agent beside it
---@field boot? "ours"|"kernel"|"firmware" whose kernel: the disk's own with its initrd, which initramfs-tools or dracut has made, for systemd (a guest of ours looks for it first, once for each state of the disk); ours with stage 1; or what the disk's own loader starts, for systemd or where QEMU's guest agent is installed. By default the disk's own, where it has one, and else ours: `vm.boot` and `vm.boot_reason` tell
---@field writes? "discard"|"keep"|"through" the guest's writes to its root: lost with the guest; kept in a file of their own; written to the disk itself
---@field modules_dir? string the kernel's modules for stage 1 ($VMCTL_MODULES, or the folder `modules` beside the kernel)
---@field cache_dir? string where files that a root needs are kept ($XDG_CACHE_HOME/vmctl)
---@field shares? { host: string, guest: string, read_only: boolean?, xattrs: boolean? }[] folders of this machine that stage 1 mounts in the guest, by virtiofs; xattrs: with the attributes user.*. What a guest writes belongs to the folder's owner. A guest with shares can have no snapshots
---@field network? "none"|"user"|vmctl.MachineNetwork user: a network card with the address 10.0.2.15 in a network that has no way out, or one where that is asked for ("none")
---@field ports? string[] with network "user": "8080:80" leads port 8080 of this machine's loopback to the guest's port 80
---@field layer? { file: vmctl.File, is_new: boolean } an open file without a name that takes what the guest writes to a disk of its own with writes = "discard": a new one becomes an empty overlay; another is an ended guest's overlay, from which this guest starts
---@field agent? string the agent's program for stage 1 ($VMCTL_AGENT, or that of a checkout)
---@field append? string more of the kernel's command line
---@field memory? string|integer MiB, or as "256M"
---@field cpus? integer
---@field accel? "auto"|"kvm"|"tcg"
---@field machine? string QEMU's, "microvm" by default on x86-64
---@field arch? string
---@field qemu? string the program
---@field args? string[] further arguments for QEMU
---@field nics? vmctl.NetworkCard[] network cards on Ethernet sockets (none by default; `vm.macs` has their addresses)
---@field name? string
---@field channel? "auto"|"vsock"|"mux" how the agent is reached: mux is virtio-serial
---@field cid? integer
---@field console_log? string a file that gets all that the console says
---@field console_size? integer bytes of it that are kept (256 KiB)
---@field exec_timeout? number seconds for a command that names none
---@field display? boolean|"std"|"virtio" a screen and a keyboard; true: what suits the machine
---@field reboot? boolean a guest that reboots starts again, in a new epoch (else its QEMU ends)
---@field sandbox? boolean|"programs" false: QEMU keeps our capabilities, which some of `args` need; "programs": it may start programs, but has none (`confinement` says what is in force)
---@field paths? string[] files and folders that QEMU may use beside those that `args` name: for what its monitor is told later
---@field on? string|vmctl.RemoteWhere|vmctl.RemoteHost another machine on which it runs: "ssh:USER@HOST", "exec:COMMAND", or what vmctl.machine.host gives; docs/remote.md says which options go there
---@field fds? integer[] descriptors that QEMU gets as its 4, 5, …, for `args`; they stay the caller's
local MachineOptions = {}

end

do
--- the source of a guest's files: the first element is the text of `root`
---@class vmctl.MachineRootOptions
---@field [1]? string
---@field size? string|integer "4G": of an empty file system, or of the layer that an image's writes are kept in
---@field read_only? boolean the guest mounts it read-only
---@field keep? string the file that keeps the writes ($XDG_STATE_HOME/vmctl/roots/NAME…)
---@field format? "raw"|"qcow2" of a disk, if it is not to be read from its header
---@field firmware? "bios"|"efi" that starts the disk with boot = "firmware" (a raw disk's first sector tells)
---@field ways? string[] by which its systemd is then told of the agent: of "extra-unit", "tmpfiles", "qemu-ga" (all)
---@field digest? string of an EROFS that was an image: its writes are kept under this digest, wherever the file is
---@field config? table of such an EROFS: its image's settings for commands (env, user, cwd, entrypoint, cmd)
---@field stage1? string the initramfs that would be made of the agent and the kernel's modules, if somebody has made it
---@field has_init? boolean|string the init of such an image, if it is meant to run
---@field partition? string|integer of a disk: its number, its name in the partition table, or its file system's label or UUID
local MachineRootOptions = {}

end

do
---@class vmctl.Mux
local Mux = {}

--- False once the transport has ended.
---@return boolean
function Mux:alive() end

--- Ends the transport. Idempotent, never waits.
---@return true
function Mux:close() end

--- Connects to a port of the guest's agent. Waits.
---@param port integer
---@param timeout? number
---@return vmctl.Stream|nil
---@return string?
---@return string? code ECONNREFUSED: the port is not served
function Mux:connect(port, timeout) end

--- Ends the session and leaves the transport to the next one: the guest has begun a new session. Never waits.
function Mux:drop() end

--- Waits until a dropped session no longer uses the transport.
function Mux:ended(timeout) end

--- Asks if the other end answers. Waits.
---@param timeout? number seconds
---@return true|nil
---@return string?
---@return string?
function Mux:ping(timeout) end

end

do
---@class vmctl.MuxServer
local MuxServer = {}

--- A listener for a port of the mux.
---@param port integer
---@return table listener with accept(timeout) and close()
function MuxServer:listen(port) end

--- Serves one host after the other on a transport, for ever. Waits.
---@param transport vmctl.Stream
---@return nil
---@return string
---@return string the reason of the transport's end
function MuxServer:run(transport) end

end

do
---@class vmctl.NetworkCard
---@field listen? string the address on which QEMU listens: "unix:PATH", "tcp:HOST:PORT"
---@field connect? string the address that it dials; where nobody listens the card has a link to nobody, which wait_ready logs
---@field netdev? string any other backend in QEMU's syntax, without an id
---@field backend? "stream"|"socket" of `listen` and `connect`: stream needs QEMU 7.2; socket knows IPv4 alone
---@field mac? string random by default
---@field model? "virtio-net"|"e1000"|"e1000e"|"rtl8139"|"vmxnet3"
---@field mtu? integer that virtio-net tells the guest
---@field reconnect? number seconds after which QEMU dials again; from QEMU 8.0 on. With 7.2 let it `listen`, and dial it
---@field queues? integer of virtio-net, on a `netdev` of tap or vhost-user
local NetworkCard = {}

end

do
---@class vmctl.Probe
---@field label string
---@field kind string
local Probe = {}

end

do
---@class vmctl.ProtobufField
---@field name string
---@field type string as in the .proto: "int32", "string" ...; "enum", "message"
---@field number integer
---@field repeated boolean
---@field map boolean it is also repeated, and its message holds the types of `key` and `value`
---@field oneof boolean it belongs to a oneof, or was declared `optional` in a way that needs one
---@field message? string the full name of its message
---@field enum? string the full name of its enum
---@field values? table<string, integer> the enum's values
local ProtobufField = {}

end

do
---@class vmctl.ProtobufService
---@field name string with its package
---@field methods table<string, { request: string, response: string, client_stream: boolean, server_stream: boolean }>
local ProtobufService = {}

end

do
---@class vmctl.QgaClient
local QgaClient = {}

--- Ends the connection. Idempotent, never waits.
function QgaClient:close() end

--- Tells if the connection is known to have ended, and why.
---@return boolean
---@return string?
---@return string?
function QgaClient:closed() end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:disks(opts) end

--- Executes a command. Waits for its answer, and before that for the calls of other tasks: an agent does one thing at a time.
---@param name string
---@param arguments? table by the agent's names
---@param opts? number|{ timeout: number? }
---@return any value
---@return string? message
---@return string? code EREMOTE: it failed there; ENOTSUP: no such command, or not allowed; ETIMEDOUT (it may still be done; the next call synchronises with the agent first); ERESET: the connection ended; ECLOSED, EPROTO, EINVAL, ETOOBIG
---@return { class: string, desc: string }? problem the agent's own words
function QgaClient:execute(name, arguments, opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:filesystems(opts) end

--- Freezes the guest's file systems: the disks are consistent, and writes wait until `thaw`. `frozen` is the safer call.
---@return integer|nil count of file systems
---@return string?
---@return string?
---@return table?
function QgaClient:freeze(opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:freeze_status(opts) end

--- Calls `fn()` while the guest's file systems are frozen, and always thaws them: an error of `fn` is raised after
--- that. Waits.
---@return any # ... the results of `fn`
---@return nil # , message, code when they could not be frozen
function QgaClient:frozen(fn) end

--- The guest's time. Waits.
---@return integer|nil nanoseconds since 1970
---@return string?
---@return string?
function QgaClient:get_time(opts) end

--- The guest's name. Waits.
---@return string|nil
---@return string?
---@return string?
function QgaClient:host_name(opts) end

--- The agent's version and its commands. Waits.
---@param opts? number|{ timeout: number? }
---@return { version: string, commands: table<string, { enabled: boolean, answers: boolean }> }|nil
---@return string?
---@return string?
function QgaClient:info(opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:network_interfaces(opts) end

--- Opens a file of the guest. Waits.
---@param path string
---@param mode? string as for C's fopen: "r" by default
---@return vmctl.QgaFile|nil file with read, write, seek, flush, close
---@return string?
---@return string?
---@return table? EREMOTE: it cannot be opened
function QgaClient:open(path, mode) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:osinfo(opts) end

--- Asks if the agent answers. Waits.
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return string?
---@return string?
function QgaClient:ping(opts) end

--- Reads a whole file. Waits.
---@param path string
---@param opts? { limit: integer? } bytes, 256 MiB by default
---@return string|nil bytes
---@return string?
---@return string? code ETOOBIG, EREMOTE …
---@return table?
function QgaClient:read_file(path, opts) end

--- Runs a command. Waits for its end; one that takes too long is killed. Its output comes after its end.
---@param command table|string { "program", "argument" …, stdin =, env =, capture =, timeout =, check = }; a string is for the guest's shell. stdin: bytes; env: variables that replace the agent's (PATH is kept); capture: false drops output; timeout: seconds, 60; check: an exit code other than 0 is a failure. A working directory or a user cannot be given
---@return table|nil result as of `wait`
---@return string? message
---@return string? code as `execute`; ETIMEDOUT; EEXIT with `check`, the fourth value is the result
function QgaClient:run(command) end

--- Sets the guest's clock. Waits.
---@param nanoseconds? integer since 1970; nil: from the guest's hardware clock
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaClient:set_time(nanoseconds, opts) end

--- Tells the guest to power off, halt or reboot. Waits only a moment, for a refusal; use vm:wait to see that it is down.
---@param mode? "powerdown"|"halt"|"reboot"
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaClient:shutdown(mode) end

--- Starts a command. Waits until it is started.
---@param command table|string as for `run`, without timeout and check
---@return vmctl.QgaProcess|nil process with pid, wait(timeout), kill(signal)
---@return string?
---@return string?
---@return table?
function QgaClient:start(command) end

--- Tells if the agent has a command and may execute it. Asks each time, because freezing a file system changes it. Waits.
---@return boolean|nil
---@return string?
---@return string?
function QgaClient:supports(name) end

--- Suspends the guest. Waits only a moment, for a refusal.
---@param how? "ram"|"disk"|"hybrid"
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaClient:suspend(how) end

--- Synchronises with the agent again, after a restore for instance, which the connection does not show. Waits.
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return string?
---@return string?
function QgaClient:synchronise(opts) end

--- Thaws them. Waits.
---@return integer|nil count
---@return string?
---@return string?
---@return table?
function QgaClient:thaw(opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:timezone(opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:users(opts) end

--- Asks the agent. Waits.
---@param opts? number|{ timeout: number }
---@return any answer as in the agent's schema
---@return nil # , message, code on failure
function QgaClient:vcpus(opts) end

--- Writes a whole file: to a temporary name first, and then renames it. Waits.
---@param path string
---@param bytes string
---@param opts? { mode: integer?, direct: boolean? } mode: of the file; without it, by the agent's umask, 0644; direct: write in place, for guests without `mv`
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaClient:write_file(path, bytes, opts) end

end

do
---@class vmctl.QgaFile
local QgaFile = {}

--- Closes it. Idempotent; waits for the agent's answer, because flushing its buffer may fail.
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaFile:close() end

--- Lets the agent flush its buffer. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaFile:flush() end

--- Reads at most `count` bytes. Waits.
---@param count? integer 64 KiB by default and at most
---@return string|nil bytes
---@return string?
---@return string? code EOF at the end
function QgaFile:read(count) end

--- Moves the offset. Waits.
---@param whence? "set"|"cur"|"end"
---@param offset? integer bytes
---@return integer|nil position
---@return string?
---@return string?
---@return table?
function QgaFile:seek(whence, offset) end

--- Writes all bytes. Waits.
---@return true|nil
---@return string?
---@return string?
---@return table?
function QgaFile:write(bytes) end

end

do
---@class vmctl.QgaProcess
---@field pid integer its number in the guest
local QgaProcess = {}

--- Sends it a signal, by a second command: the agent has no command for that. Waits.
---@param signal? string "TERM" by default
---@return true|nil
---@return string?
---@return string?
function QgaProcess:kill(signal) end

--- Waits for the command's end. The agent tells the result once; this object keeps it.
---@param timeout? number seconds, 60 by default
---@return { exit_code: integer?, signal: integer?, stdout: string, stderr: string, stdout_truncated: boolean, stderr_truncated: boolean }|nil result an agent keeps 16 MiB of each stream
---@return string?
---@return string? code ETIMEDOUT: it goes on; EREMOTE: the agent does not know it (any more)
function QgaProcess:wait(timeout) end

end

do
---@class vmctl.QmpClient
---@field version { major: integer, minor: integer, micro: integer } QEMU's
---@field ["package"] string the distributor's suffix
---@field capabilities table<string, true> those that the server offers; "oob" is then in use
local QmpClient = {}

--- Drops the events that `wait_event` could still return. Does not wait.
function QmpClient:clear_events() end

--- Ends the connection: commands that wait fail with ECLOSED, and so do later ones. Idempotent, never waits.
function QmpClient:close() end

--- Tells if the connection is known to have ended, and why.
---@return boolean
---@return string?
---@return string?
function QmpClient:closed() end

--- An iterator over the events from now on: `for event in client:events() do`. Each step waits for the next one. The loop
--- ends when the client is closed, the connection is lost or the time-out is over; a caller of the function itself then gets nil,
--- message, code. A listener more than 256 events or 1 MiB behind loses the oldest: the next event has their number as `lost`.
---@param opts? number|{ timeout: number? } seconds for each event; none by default
---@return fun(): { event: string, data: table, timestamp: { seconds: integer, microseconds: integer }?, lost: integer? }|nil
function QmpClient:events(opts) end

--- Executes a command. Waits for its answer; commands of other tasks go on meanwhile.
--- docs/wire/qmp-qga.md#qmp-messages, docs/wire/qmp-qga.md#qmp-commands.
---@param name string
---@param arguments? table by QEMU's names
---@param opts? number|{ timeout: number?, oob: boolean?, fd: integer? } oob: out of band, before running commands, if QEMU allows it; fd: a descriptor that goes with the command over a Unix socket, for "getfd" and "add-fd"; the caller keeps it
---@return any value the command's result, often an empty table
---@return string? message
---@return string? code EREMOTE: it failed there; ENODEV: no such device; ENOTSUP: no such command; ETIMEDOUT (it may still be done); ERESET: the connection ended; ECLOSED, EPROTO, EINVAL, ETOOBIG
---@return { class: string, desc: string }? problem QEMU's own words
function QmpClient:execute(name, arguments, opts) end

--- Calls `fn(event)` for each event from now on, in a task of its own, until the connection ends: `fn` may wait, and its errors
--- are logged. Does not wait.
---@param fn fun(event: table)
---@return fun() cancel ends it
function QmpClient:on_event(fn) end

--- Tells if QEMU has a command. Asks at the first call, and waits then.
---@return boolean|nil
---@return string?
---@return string?
function QmpClient:supports(name) end

--- Waits for an event. An earlier event counts as well, unless another call took it or `clear_events` dropped it: the event of a
--- command often comes before its answer. Of more than 256 untaken events, or 1 MiB of them, the oldest are dropped.
---@param what string|fun(event: table): boolean its name, or a condition
---@param opts? number|{ timeout: number? } seconds, 60 by default
---@return table|nil event
---@return string?
---@return string? code ETIMEDOUT, ERESET, ECLOSED
function QmpClient:wait_event(what, opts) end

end

do
---@class vmctl.RemoteHost
---@field label string as the caller has named it
---@field version string of vmctl there
local RemoteHost = {}

--- Sends a request. Waits for the answer.
---@param request table with `op`
---@param timeout? number seconds (30)
---@return vmctl.Stream|nil stream behind the answer, which the caller closes
---@return table|string answer, or a message
---@return string? code of the other side; EHOSTDOWN, ETIMEDOUT
function RemoteHost:ask(request, timeout) end

--- As `ask`, for a request whose stream ends with the answer.
---@return table|nil answer
---@return string?
---@return string?
function RemoteHost:call(request, timeout) end

--- True while it answers. Does not wait.
---@return true|nil
---@return string?
---@return string? code EHOSTDOWN, ECLOSED
function RemoteHost:check() end

--- Ends the connection, and with it the guests there. Idempotent, never waits.
---@return true
function RemoteHost:close() end

--- Explains a failure of a stream: if the host has gone away, that is the reason. Waits a moment.
---@param err string
---@param code string
---@return nil
---@return string
---@return string
function RemoteHost:explain(err, code) end

--- Waits until it has gone away, or was closed.
---@param timeout number seconds
---@return nil
---@return string message
---@return string code ETIMEDOUT: it is there
function RemoteHost:wait_lost(timeout) end

end

do
--- where guests may run: the first element is the text of `on`
---@class vmctl.RemoteWhere
---@field [1]? string "ssh:USER@HOST:PORT", "exec:COMMAND"
---@field argv? string[] instead: a program and its arguments whose standard streams lead to a `vmctl serve --stdio`
---@field ssh_options? string[] words for ssh, before the host: { "-F", "ssh_config", "-i", "key" }
---@field command? string|string[] vmctl there, for ssh ("vmctl"): its path, or words before `serve --stdio`
---@field timeout? number seconds until it has said hello (30)
---@field keepalive? number seconds within which a host that has gone away is noticed (15)
local RemoteWhere = {}

end

do
---@class vmctl.Replay
local Replay = {}

--- Ends the connections that are being played. Idempotent, never waits.
function Replay:close() end

--- How many recorded connections have not been played yet.
---@return integer|nil
---@return string?
---@return string? as of vmctl.trace.read
function Replay:left() end

--- Plays the next recorded connection over a stream, or to an address: the client's side against a server under test. Waits.
---@param where vmctl.Stream|string|table|function
---@return true|nil
---@return string?
---@return string?
---@return table? as `wait`; and as vmctl.dial
function Replay:over(where) end

--- Waits until the connections that have begun are played to their end.
---@param timeout? number seconds (60)
---@return true|nil ok
---@return string? message of the first difference
---@return string? code EPROTO (a difference), ETIMEDOUT, EINVAL (the trace lacks what was to be sent)
---@return { expected: vmctl.TraceRecord, got: table? }? difference
function Replay:wait(timeout) end

end

do
---@class vmctl.ReplayAddress : vmctl.Address
---@field play vmctl.Replay the replay: wait, over, left, close
local ReplayAddress = {}

end

do
---@class vmctl.Scenario
---@field [string] vmctl.ScenarioMachine by name
local Scenario = {}

--- The artefacts folder of the running test: logs, captures, screenshots.
---@return string|nil path
function Scenario:artefacts() end

--- Pauses the test with a Lua prompt on this program's terminal. Lines can use the machines by name, `vms`, and the caller's local
--- variables; `continue` or Ctrl-D resumes the test. The machines go on running, and the time does not count towards the test's
--- limit. Without a terminal the test is not paused, and its log says so. Waits.
function Scenario:breakpoint() end

--- Ends all machines and removes their snapshots. Idempotent, does not wait.
---@param failed? boolean keep the artefacts; by default true when a verb or the test's body failed
---@return string|nil path of the artefacts, if they are kept
function Scenario:close(failed) end

--- Ends a partition.
---@param name? string one network; by default all
function Scenario:heal(name) end

--- The machines, in the order of their names.
---@return vmctl.ScenarioMachine[]
function Scenario:machines() end

--- Adds a line to the test's commands.log.
---@param text string as for string.format
function Scenario:note(text, ...) end

--- Partitions the networks: no frame passes between groups. Machines in no group form one of their own. Replaces an earlier
--- partition.
---@param groups (string|vmctl.ScenarioMachine)[][]
---@param name? string one network; by default all
function Scenario:partition(groups, name) end

--- Checks an invariant while the next steps run: once now, and then every `interval` seconds. When it does not hold, the running step
--- is cancelled and the test fails with the check's message. Waits for the first check.
---@param what string its name in reports
---@param fn? fun(): boolean the check: raises (as verbs do) or returns false when the invariant does not hold
---@param opts? { interval: number? } seconds between the end of a check and the next one, 1 by default
---@return vmctl.ScenarioCondition condition checked until `close` (`local steady <close> = …`) or the test's end
function Scenario:polling_condition(what, fn, opts) end

--- Repeats a function until it succeeds: until it neither raises nor returns false or nil. A function that returns no value at all
--- has succeeded. Waits.
---@param fn fun(left: number): ... gets the seconds that are left
---@param opts? { timeout: number?, interval: number?, what: string? }|number timeout: seconds for all calls; interval: seconds between two calls at most (1); what: its name in reports
---@return any # ... results of the last call
function Scenario:retry(fn, opts) end

--- Starts all machines concurrently and waits until they are ready. The first verb does so as well, except for machines with
--- `lazy`. Raises when a machine does not start.
---@return vmctl.Scenario
function Scenario:start() end

--- The switch of a network, for faults, taps and counts. See vmctl.l2.switch.
---@param name? string may be left out when there is only one network
---@return vmctl.L2Switch
function Scenario:switch(name) end

end

do
--- an exact list of words, or one shell command with `strict`
---@class vmctl.ScenarioCommand : vmctl.Command
---@field strict? boolean the list is one shell command: true: under `set -eu` and pipefail, as a string; false: plain `sh -c`
---@field exit_code? integer for fail and wait_until_fails: the only exit code that counts as a failure
---@field signal? string|integer for fail and wait_until_fails: the only signal that counts as a failure
local ScenarioCommand = {}

end

do
---@class vmctl.ScenarioCondition
---@field what string
local ScenarioCondition = {}

--- Stops the checks. Idempotent, does not wait.
---@return true
function ScenarioCondition:close() end

end

do
---@class vmctl.ScenarioMachine
---@field name string
---@field vm? vmctl.Machine while it runs: for features that have no verb
local ScenarioMachine = {}

--- Cuts the machine off from its networks. Its cards keep their link.
function ScenarioMachine:block() end

--- Connects the guest's serial console to this program's terminal, and shows the kept output first. Waits until Ctrl-] is typed or
--- the console ends. The time does not count towards the test's limit.
function ScenarioMachine:console_interact() end

--- Copies a file, or the content of a folder, out of the guest. A copy among the artefacts is kept when the test passes. Waits.
---@param source string a path in the guest
---@param destination? string a path here: of the file, or of the folder that receives the content of `source`; by default a file or folder of the same name among the artefacts
---@param opts? { timeout: number? }|number seconds
---@return string path of the copy
function ScenarioMachine:copy_from_guest(source, destination, opts) end

--- Copies a file, or the content of a folder, into the guest, with its mode. Makes missing parent folders. Waits.
---@param source string of this machine
---@param destination string a path in the guest: of the file, or of the folder that receives the content of `source`
---@param opts? { timeout: number? }|number seconds
function ScenarioMachine:copy_to_guest(source, destination, opts) end

--- Ends the machine at once, like a power failure.
function ScenarioMachine:crash() end

--- Runs a command and returns its exit code. Raises only when there is none (a time-out, a machine that is gone). Waits.
---@param command vmctl.ScenarioCommand|string a list is run exactly as it is; a string is a shell command under `set -eu`, and pipefail where the guest's shell has it: it ends where one of its parts fails. `{ "…", strict = false }` is plain `sh -c`
---@return integer exit_code 128 and the signal's number when a signal ended it
---@return string stdout
---@return string stderr
function ScenarioMachine:execute(command) end

--- Runs commands one after the other. Each must fail with an exit code of its own: a missing command (exit codes 126, 127) and one
--- that a signal ended do not count. `{ …, exit_code = 127 }` and `{ …, signal = "SEGV" }` expect exactly that. Waits.
---@param ... vmctl.ScenarioCommand|string as for `execute`
---@return string stdout of all
---@return string stderr of all
function ScenarioMachine:fail(...) end

--- Forwards a TCP port of this machine to one of the guest, until the machine is off or the test ends. Waits.
---@param port integer of the guest
---@param opts? { port: integer?, host: string?, guest_host: string? } port: of this machine (by default any free one); host: address of this machine to listen on (127.0.0.1); guest_host: address in the guest to connect to (127.0.0.1)
---@return integer port of this machine
function ScenarioMachine:forward_port(port, opts) end

--- The text on a virtual terminal of the guest (/dev/tty1 …). It is read from the kernel, so the guest needs no display. Waits.
--- Raises when the guest has no such terminal.
---@param number integer of the tty, from 1
---@return string text lines without trailing spaces
function ScenarioMachine:get_tty_text(number) end

--- Reads a property of a unit. Waits. Raises when the unit has no such property.
---@param unit string
---@param name string "ActiveState", "MainPID" …
---@param opts? { timeout: number?, user: string? }|number seconds
---@return string value # empty when the property is not set
function ScenarioMachine:get_unit_property(unit, name, opts) end

--- True if the machine has a screen.
---@return boolean
function ScenarioMachine:has_screen() end

--- The machine's address in a network, by default in its first one.
---@param name? string
---@return string
function ScenarioMachine:ip(name) end

--- Reads the guest's journal. Waits. Raises where it has none.
---@param opts? vmctl.JournalOptions as for vmctl.Machine.journal
---@return vmctl.JournalEntry[]|vmctl.Journal
function ScenarioMachine:journal(opts) end

--- Takes the link of the machine's card in a network down: the guest loses its carrier, and nothing passes. The machine must run.
--- Waits.
---@param name? string of the network, by default its first one
function ScenarioMachine:link_down(name) end

--- Ends `link_down`. Waits.
---@param name? string
function ScenarioMachine:link_up(name) end

--- The vmctl.Machine, for features that have no verb. Starts a machine that is new. Raises when the machine is off.
---@return vmctl.Machine
function ScenarioMachine:machine() end

--- Reads a whole file of the guest. Waits.
---@param path string
---@param opts? { timeout: number? }|number seconds
---@return string content
function ScenarioMachine:read_file(path, opts) end

--- Has the guest power itself off, and boots it again, from its kernel also where the scenario has snapshots. Waits until it is ready.
---@param opts? { timeout: number? }|number seconds for the power-off
---@return vmctl.ScenarioMachine
function ScenarioMachine:reboot(opts) end

--- Raises unless a unit is in a state now (`wait_for_unit` waits for the state). Waits for systemd's answer.
---@param unit string
---@param state? string of ActiveState, "active" by default
---@param opts? { timeout: number?, user: string? }|number seconds
function ScenarioMachine:require_unit_state(unit, state, opts) end

--- Saves a screenshot as a PNG file among the artefacts. It is kept when the test passes, too. Waits.
---@param name? string of the file; by default the machine's name
---@return string path
function ScenarioMachine:screenshot(name) end

--- Types a text on the guest's keyboard. Waits.
---@param text string
function ScenarioMachine:send_chars(text) end

--- Writes a text to the guest's serial console. Waits.
---@param text string
function ScenarioMachine:send_console(text) end

--- Presses keys together: "ctrl-alt-delete", "ret". Waits.
---@param keys string
function ScenarioMachine:send_key(keys) end

--- Runs an interactive shell of the guest on this program's terminal, to look around during a test. Waits until the shell ends. The
--- time does not count towards the test's limit.
---@param command? string[]|string "sh" by default
function ScenarioMachine:shell_interact(command) end

--- Has the guest power itself off, and waits until it is off.
---@param opts? { timeout: number? }|number seconds
function ScenarioMachine:shutdown(opts) end

--- Starts a command in the background. It ends with its machine at the latest.
---@param command vmctl.ScenarioCommand|string as for `execute`, but without a default time-out
---@return vmctl.ExecProcess process with read, write, kill, wait, close
function ScenarioMachine:spawn(command) end

--- Starts the machine if it is off, and waits until it is ready.
---@return vmctl.ScenarioMachine
function ScenarioMachine:start() end

--- Starts a unit, and waits until systemd's job has ended.
---@param unit string
---@param opts? { timeout: number?, user: string? }|number seconds
function ScenarioMachine:start_job(unit, opts) end

--- The machine's state, as far as the scenario knows.
---@return "new"|"on"|"off" state new: not started in this test
function ScenarioMachine:state() end

--- Stops a unit, and waits until systemd's job has ended.
---@param unit string
---@param opts? { timeout: number?, user: string? }|number seconds
function ScenarioMachine:stop_job(unit, opts) end

--- Runs commands one after the other. Each must succeed. Waits.
---@param ... vmctl.ScenarioCommand|string as for `execute`
---@return string stdout of all
---@return string stderr of all
function ScenarioMachine:succeed(...) end

--- Calls systemctl and returns its exit code. Waits. Raises when the guest has no systemctl.
---@param arguments string[]|string words; a string is split at its spaces
---@param opts? { timeout: number?, user: string? } user: calls the service manager of that user, who must be logged in
---@return integer exit_code
---@return string stdout
---@return string stderr
function ScenarioMachine:systemctl(arguments, opts) end

--- Ends `block`.
function ScenarioMachine:unblock() end

--- Waits until a TCP port refuses connections from inside the guest.
---@param port integer
---@param opts? { timeout: number?, interval: number?, host: string? }|number
function ScenarioMachine:wait_for_closed_port(port, opts) end

--- Waits until the console's output matches a Lua pattern, which takes 2 KiB of it at most. Output that was kept counts, too; of a
--- machine that started from a snapshot that is the output since then.
---@param pattern string
---@param opts? { timeout: number?, plain: boolean? }|number
---@return string match
function ScenarioMachine:wait_for_console_text(pattern, opts) end

--- Waits until a path exists; the file may be of any type.
---@param path string
---@param opts? { timeout: number?, interval: number? }|number seconds
function ScenarioMachine:wait_for_file(path, opts) end

--- Waits until a TCP port accepts connections from inside the guest.
---@param port integer
---@param opts? { timeout: number?, interval: number?, host: string? }|number host: 127.0.0.1 by default
function ScenarioMachine:wait_for_open_port(port, opts) end

--- Waits until a Unix stream socket accepts connections.
---@param path string
---@param opts? { timeout: number?, interval: number? }|number seconds
function ScenarioMachine:wait_for_open_unix_socket(path, opts) end

--- Waits for an event of QEMU. Events since the first use of the monitor count; earlier ones are lost, so call `vm:qmp` before the
--- step that causes the event.
---@param what string|fun(event: table): boolean "RESET", "STOP", "GUEST_PANICKED" …, or a function that returns true for the event
---@param opts? { timeout: number? }|number seconds
---@return table event as QEMU sent it: event, data, timestamp
function ScenarioMachine:wait_for_qmp_event(what, opts) end

--- Waits until the machine is off without help of the test. Returns at once when it is off already.
---@param opts? { timeout: number? }|number seconds
function ScenarioMachine:wait_for_shutdown(opts) end

--- Waits until a unit is active. Raises at once for a unit that has failed, or that is inactive without a job.
---@param unit string
---@param opts? { timeout: number?, interval: number? }|number seconds
function ScenarioMachine:wait_for_unit(unit, opts) end

--- Repeats a command until it fails in the sense of `fail`. Waits.
---@param command vmctl.ScenarioCommand|string as for `fail`
---@param opts? { timeout: number?, interval: number? }|number
---@return string stdout of the last run
function ScenarioMachine:wait_until_fails(command, opts) end

--- Repeats a command until it succeeds. Waits.
---@param command vmctl.ScenarioCommand|string as for `execute`; its `timeout` is that of each run
---@param opts? { timeout: number?, interval: number? }|number seconds in all, and between two runs at most (1)
---@return string stdout of the last run
function ScenarioMachine:wait_until_succeeds(command, opts) end

--- Waits until the text on a virtual terminal of the guest matches a Lua pattern.
---@param number integer of the tty, from 1
---@param pattern string
---@param opts? { timeout: number?, interval: number? }|number seconds
---@return string match
function ScenarioMachine:wait_until_tty_matches(number, pattern, opts) end

--- Writes a file of the guest. Makes missing parent folders, and replaces an old file atomically. Waits.
---@param path string
---@param content string
---@param opts? { timeout: number?, mode: integer? }|number seconds; mode: by default that of the old file, or 0644
function ScenarioMachine:write_file(path, content, opts) end

end

do
---@class (exact) vmctl.ScenarioOptions
---@field defaults? vmctl.ScenarioSpec options that every machine has
---@field shared? boolean # in busted: the machines exist for the whole describe, not for one test
---@field snapshot? boolean machines boot once; each test starts from a snapshot of that, in well under a second
---@field prepare? fun(vms: vmctl.Scenario) runs once, before the snapshots are taken
---@field timeout? number seconds, the default of verbs (60)
---@field limit? number seconds for a test (600)
---@field artefacts? string folder of the tests' artefacts (VMCTL_ARTEFACTS, "build/artefacts")
---@field keep? boolean artefacts are kept after a success, too (VMCTL_KEEP_ARTEFACTS=1)
---@field configure? boolean false: the cards of `networks` get no addresses
---@field networks? table<string, string> subnets by network, "192.168.7.0/24" or "fd00:7::/64"; by default 10.77.N.0/24
---@field seed? integer of the networks' faults
---@field hosts? "slurm"|vmctl.ScenarioSlurm|(string|vmctl.RemoteWhere|vmctl.RemoteHost)[] other machines that run those of the scenario, spread by their memory: { "ssh:a", "ssh:b" }, or nodes that Slurm gives. Their networks are here (docs/remote.md)
local ScenarioOptions = {}

end

do
--- hosts that Slurm gives
---@class vmctl.ScenarioSlurm
---@field slurm string[] words for salloc: { "-p", "part", "-N", "2" }; without any, up to as many nodes as there are machines
---@field command? string vmctl on the nodes ("vmctl")
---@field timeout? number seconds until there is an allocation (600)
---@field keepalive? number seconds within which a node that has gone away is noticed (15)
local ScenarioSlurm = {}

end

do
--- one machine: options for vmctl.machine.launch, and
---@class (exact) vmctl.ScenarioSpec
---@field kernel? string as for vmctl.machine.launch, here and below
---@field initrd? string
---@field root? string|vmctl.MachineRootOptions
---@field init? "agent"|"system"|string[]
---@field boot? "ours"|"kernel"|"firmware"
---@field writes? "discard"|"keep"|"through"
---@field modules_dir? string
---@field agent? string
---@field cache_dir? string
---@field shares? { host: string, guest: string, read_only: boolean?, xattrs: boolean? }[]
---@field network? "none"|"user"
---@field ports? string[]
---@field append? string
---@field memory? string|integer
---@field cpus? integer
---@field accel? "auto"|"kvm"|"tcg"
---@field machine? string
---@field arch? string
---@field qemu? string
---@field args? string[]
---@field nics? table[]
---@field channel? "auto"|"vsock"|"mux"
---@field cid? integer
---@field console_size? integer
---@field exec_timeout? number
---@field display? boolean|"std"|"virtio"
---@field reboot? boolean
---@field on? string|vmctl.RemoteWhere|vmctl.RemoteHost another machine that runs it
---@field networks? table names of networks: the machine has a card in each, with an address, and a line in its peers' /etc/hosts; `{ "lan", wan = "192.0.2.7" }` chooses the address in wan
---@field lazy? boolean the machine is started by its own verbs only
---@field boot_timeout? number seconds (60)
---@field ready? "agent"|"system" its state before a verb: its agent answers (default), or its system is up
local ScenarioSpec = {}

end

do
---@class vmctl.SignalWatch
local SignalWatch = {}

--- Gives the signals their usual effect again. Idempotent, never waits.
function SignalWatch:close() end

--- The next signal. Waits.
---@param timeout? number seconds; for ever by default
---@return string|nil name without SIG
---@return string?
---@return string? code ETIMEDOUT, ECLOSED, ECANCELED
function SignalWatch:next(timeout) end

end

do
---@class vmctl.SocketForwarder
local SocketForwarder = {}

--- Forwards further sockets. Waits. All or nothing.
---@param entries table<string, table> as for `new`
---@return true|nil
---@return string?
---@return string?
function SocketForwarder:add(entries) end

--- The client that it uses now: another one after a lost connection, where `reconnect` was given. Forwarders of one client share it.
---@return vmctl.TtrpcClient
function SocketForwarder:client() end

--- Ends it: closes running connections, refuses others from now on, and asks the guest to close its sockets.
--- Idempotent; does not wait, and never raises.
---@return true
function SocketForwarder:close() end

--- The guest's end of an id: its path, or its address with the port that it got.
---@return string|nil
function SocketForwarder:guest_address(id) end

--- Has the Accept stream of its client opened anew, as after its end. Connections that run go on. Does not wait.
---@return true
function SocketForwarder:reopen() end

--- Counts of connections and bytes, running connections included. Does not wait.
---@return { total: integer, open: integer, failed: integer, to_host: integer, to_guest: integer, last_error: string?, forwards: table<string, table> } bytes; `forwards` has the same for each id
function SocketForwarder:stats() end

--- Its state. Does not wait.
---@return { state: "serving"|"reconnecting"|"failed"|"closed", error: string?, code: string?, reopened: integer } reopened: how often the Accept stream was lost and came back
function SocketForwarder:status() end

--- Lets the guest close the sockets. Waits. `close` does it as well, in the background and without a result.
---@param timeout? number seconds, 5 by default
---@return true|nil
---@return string?
---@return string? UNIMPLEMENTED: the guest's agent can not
function SocketForwarder:unbind(timeout) end

--- Waits until it is closed, or its client is lost and cannot be replaced.
---@param timeout? number seconds; no limit by default
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT; why it was lost
function SocketForwarder:wait(timeout) end

end

do
---@class vmctl.SocketforwardService
local SocketforwardService = {}

--- Accept: offers connections to the host, and takes its results, until the stream or its input ends.
--- Waits.
---@param stream vmctl.TtrpcIncoming anything with send and recv
---@return nil
---@return string?
---@return string? nothing when the host has ended it
function SocketforwardService:accept(stream) end

--- Bind: makes all the listening sockets or none, one Bind after the other. A socket that is already bound in the same form is left
--- alone; another forward at the same path is replaced. A Bind is finished also when its caller does not wait any more. Waits.
---@param request { sockets: { forward_id: string, socket_path: string, extension: { mode: integer, address: string }? }[] }
---@return { bound: table[] }|nil response with the extensions that were applied, and the real addresses of those that asked for any port
---@return string?
---@return string? code EINVAL, EACCES, EEXIST, ENAMETOOLONG, EADDRINUSE, ETOOBIG, ENOTDIR …, ETIMEDOUT (another Bind takes 30 s), ESHUTDOWN (a shutdown came meanwhile)
function SocketforwardService:bind(request) end

--- Shuts down, and ends running connections as well. Idempotent, does not wait.
---@return true
function SocketforwardService:close() end

--- Adds the service to a ttrpc server.
---@param server vmctl.TtrpcServer
function SocketforwardService:register(server) end

--- Serves the stream port until its listener is closed. Waits.
---@param listener vmctl.Listener anything with accept and close
---@return true|nil
---@return string?
---@return string? code ECANCELED
function SocketforwardService:serve_streams(listener) end

--- Shutdown: closes all sockets, fails connections that have no stream yet, and closes unclaimed streams of its own manager. Running
--- connections go on, and a later Bind works. Idempotent, does not wait.
---@return true
function SocketforwardService:shutdown() end

--- Its counts. Does not wait.
---@return { sockets: integer, hosts: integer, accepted: integer, pending: integer, open: integer, total: integer, failed: integer, gone: integer, expired: integer, unclaimed: integer, to_host: integer, to_guest: integer } hosts: Accept streams; connections: accepted; without a stream yet; with one, now and ever; refused by the host or lost; whose process left before; given up; unclaimed: streams without a connection; bytes
function SocketforwardService:stats() end

--- Unbind: closes sockets; an unknown socket is no failure. Running connections go on. Does not wait.
---@param request { sockets: table[] } as they were bound
---@return table response empty
function SocketforwardService:unbind(request) end

end

do
---@class vmctl.SocketforwardStreams
local SocketforwardStreams = {}

--- Claims a stream: it is the caller's, and the id may be used again. Does not wait.
---@param id string
---@return vmctl.Stream|nil stream nil: none with that id waits
function SocketforwardStreams:claim(id) end

--- Closes all unclaimed streams. Does not wait.
function SocketforwardStreams:close() end

--- How many streams wait to be claimed.
---@return integer
function SocketforwardStreams:count() end

--- Serves a listener until it is closed. Waits.
---@param listener vmctl.Listener
---@return true|nil
---@return string?
---@return string? code ECANCELED
function SocketforwardStreams:serve(listener) end

end

do
---@class vmctl.StereosClient
local StereosClient = {}

--- Ends the connection; calls that wait fail with ECLOSED, and so do later ones. Idempotent, never waits.
function StereosClient:close() end

--- Connects, unless it is connected. Waits.
---@param timeout? number seconds
---@return true|nil
---@return string?
---@return string? as vmctl.dial
function StereosClient:connect(timeout) end

--- An iterator over the guest's lifecycle messages from now on: `for event in client:events() do`. It connects, and connects
--- again when the guest reboots. Each step waits for the next message. The loop ends when the client is closed or at the
--- time-out; a caller of the function itself then gets nil, message, code.
---@param opts? number|{ timeout: number? } seconds for each message; none by default
---@return fun(): { state: string, message: string }|nil, string?, string? code ETIMEDOUT, ECLOSED, ECANCELED
function StereosClient:events(opts) end

--- Asks for the guest's state. Waits. A guest that does not tell it has the state "". docs/wire/stereos.md#messages.
---@param opts? number|{ timeout: number? }
---@return { state: string, agents: table[], uptime_seconds: integer }|nil health each agent: name, running, session, restarts, error
---@return string?
---@return string? as `request`
function StereosClient:get_health(opts) end

--- Puts a secret into the guest's memory (/run/stereos/secrets/NAME). Waits.
---@param name string
---@param value string UTF-8; with its escapes it must fit into a line
---@param mode? integer of the file, 384 (0600) by default. Beware: 600 is not 0600
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return boolean|string|nil
---@return string?
---@return table? as `request`
function StereosClient:inject_secret(name, value, mode, opts) end

--- Makes these the only keys that may log in as a user. Waits.
---@param user string
---@param key string lines of an authorized_keys file: all keys at once, since each call replaces them
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return boolean|string|nil
---@return string?
---@return table? as `request`
function StereosClient:inject_ssh_key(user, key, opts) end

--- The last lifecycle state that the guest sent by itself, or nil. It is as old as the last call, unless somebody listens.
function StereosClient:lifecycle_state() end

--- Mounts a shared folder in the guest. Waits. Reference guests are not idempotent: mounting twice stacks.
---@param what { tag: string, guest_path: string, fs_type: "virtiofs"|"9p", read_only: boolean? }
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return boolean|string|nil
---@return string?
---@return table? as `request`
function StereosClient:mount(what, opts) end

--- Calls `fn(event)` for each lifecycle message, in a task of its own, until the client is closed: `fn` may wait, and an error
--- of it is logged. Keeps the guest connected. Does not wait.
---@param fn fun(event: { state: string, message: string })
---@return fun() cancel ends it
function StereosClient:on_lifecycle(fn) end

--- Asks if the guest answers. Waits. docs/wire/stereos.md#messages.
---@param opts? number|{ timeout: number? } seconds, 10 by default
---@return true|nil
---@return string?
---@return string? as `request`
function StereosClient:ping(opts) end

--- Sends any request, of a type of your own for instance, and waits for its ack; ping and get_health give what the methods of
--- these names give.
---@param request string
---@param payload? table
---@param opts? number|{ timeout: number? }
---@return true|table|nil ok
---@return boolean|string|nil changed true if the guest had to change something (nil: it does not say); or the message
---@return string? code EREMOTE (the fourth value is the ack), ETIMEDOUT, ERESET (the connection ended before the reply: the request may have been done or not), EPROTO, ETOOBIG, EINVAL, ECLOSED, or the code of a failed connection
---@return table? ack
function StereosClient:request(request, payload, opts) end

--- Replaces the guest's configuration (/etc/stereos/jcard.toml). Waits.
---@param content string UTF-8. Everybody in the guest can read it: put no secrets there
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return boolean|string|nil
---@return string?
---@return table? as `request`
function StereosClient:set_config(content, opts) end

--- Tells the guest to power off. Waits for its ack only; use vm:wait to see that the machine is down.
---@param reason? string
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return boolean|string|nil
---@return string?
---@return table? as `request`
function StereosClient:shutdown(reason, opts) end

--- Waits until the guest reports that it is ready.
---
--- Waits until the guest's state is "ready" or "healthy": asks, and connects again with growing pauses after any
--- failure, also after a reboot. A lifecycle message counts when an answer to get_health confirms it. Waits.
---@param opts? table
---@return table|nil health
---@return string?
---@return string? code ETIMEDOUT (the message names the attempts, the last state and the last error; the fourth value is a table of them: attempts, state, err, code), ESHUTDOWN: it is going down, ECLOSED, ECANCELED
function StereosClient:wait_for_ready(opts) end

end

do
---@class vmctl.StereosServer
local StereosServer = {}

--- Serves one connection until it ends, and closes it. It does not count among `connections`. Waits.
---@param stream vmctl.Stream
function StereosServer:converse(stream) end

--- Sets the guest's state: sends it to the clients that cope with such lines (those of vmctl say so in their first request; the
--- reference's would take one for a reply), and reports it in later answers to get_health. Does not wait: a client that does
--- not read is closed before much output has collected for it.
---@param state "booting"|"ready"|"healthy"|"degraded"|"shutdown"
---@param message? string
---@return true|nil
---@return string?
---@return string? code EINVAL: the message is not UTF-8
function StereosServer:lifecycle(state, message) end

--- Serves connections until the listener is closed; may be called for several listeners, which share the limit of connections. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@return true|nil
---@return string?
---@return string? code ECANCELED
function StereosServer:serve(listener) end

--- The guest's state as `lifecycle` has set it; "ready" at first.
---@return string
function StereosServer:state() end

end

do
--- A record that was checked: every member has its type, and `payload` the bytes of a message if they were kept.
---@class vmctl.TraceRecord
---@field ev string start, open, name, handshake, frame, line, bytes, end, close, detach, relayed, full, dropped, stop; or broken
---@field line integer its line in the file
---@field t? number seconds on the clock of the machine that recorded; of all but "broken"
---@field s? string the session
---@field dir? "in"|"out"|nil as the recorder saw it
---@field payload? string
local TraceRecord = {}

end

do
---@class vmctl.TtrpcClient
local TtrpcClient = {}

--- Calls a method. Waits for its answer. The protocol cannot cancel a call: after a time-out, or when the task was cancelled,
--- the server may still finish it. The server is told the time-out.
---@param service_name string with its package
---@param method string
---@param request? table|string a table by the method's type; bytes go as they are; nil: the empty message
---@param opts? number|{ timeout: number?, metadata?: table<string, string|string[]>, request_type: string?, response_type: string? } types: for a method that is not described
---@return table|string|nil response a table, or bytes where no type is known
---@return string? message
---@return string? code of an answer the status' name (NOT_FOUND …), the fourth value is the status; of this side: ETIMEDOUT, ECANCELED, ERESET (the connection was lost; the call may have been done or not), ECLOSED, ETOOBIG, EPROTO, EINVAL, EOVERFLOW, ENOTSUP
---@return { code: integer, message: string, details: table[] }? status
function TtrpcClient:call(service_name, method, request, opts) end

--- Ends the connection: all calls and streams fail with ECLOSED, and so do later ones. Idempotent, never waits.
function TtrpcClient:close() end

--- Tells if the connection is known to have ended, and why.
---@return boolean
---@return string?
---@return string?
function TtrpcClient:closed() end

--- Counts of the connection's calls and streams. Does not wait.
---@return { live: integer, in_core: integer, held: integer } stats live: calls and streams that have not ended; in_core: those of them that are unary calls made by the core in one step; held: received bytes that were not read yet
function TtrpcClient:stats() end

--- Opens a stream. Waits only for room to send the request: the server does not answer it. To be sure that the
--- server has it, make any call afterwards.
---@param service_name string
---@param method string
---@param request? table|string the argument of a method that takes no stream; else a first message
---@param opts? number|{ timeout: number?, metadata: table?, request_type: string?, response_type: string?, client_stream: boolean?, server_stream: boolean? } timeout: of the stream as a whole, which the server is told, too; none by default
---@return vmctl.TtrpcStream|nil stream with send, close_send, recv, messages, close
---@return string?
---@return string? as `call`
function TtrpcClient:stream(service_name, method, request, opts) end

end

do
---@class vmctl.TtrpcInbox
local TtrpcInbox = {}

--- Drops unread messages.
function TtrpcInbox:clear() end

--- The number of unread messages.
---@return integer
function TtrpcInbox:count() end

--- Ends the queue: its messages can still be read, then `recv` returns the reason.
---@param err string
---@param code string "EOF" at the end
---@param status? table
function TtrpcInbox:finish(err, code, status) end

--- Tells if the peer should wait.
function TtrpcInbox:is_full() end

--- Tells if no further message may be kept.
function TtrpcInbox:is_overfull() end

--- Adds a message. The caller looks at the bounds. Does not wait.
---@param message string
function TtrpcInbox:put(message) end

--- The next message. Waits while there is none.
---@param timeout number seconds
---@return string|nil
---@return string?
---@return string?
---@return table? the arguments of `finish`; ETIMEDOUT, ECANCELED
function TtrpcInbox:recv(timeout) end

end

do
---@class vmctl.TtrpcIncoming
local TtrpcIncoming = {}

--- Iterates over the messages: ends at the end of input, raises on any other failure.
---@return fun(): table|string|nil
function TtrpcIncoming:messages(opts) end

--- The next message. Waits, without limit by default.
---@param opts? number|{ timeout: number? }
---@return table|string|nil message
---@return string?
---@return string? code EOF: the client has ended its side; ETIMEDOUT, ECANCELED; EPROTO: a message that is not of its type
function TtrpcIncoming:recv(opts) end

--- Sends a message. Waits while the client does not take earlier ones.
---@param message table|string a table by the method's type; bytes go as they are
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT: not sent; ECANCELED: the client has gone; ETOOBIG, EINVAL, EPROTO
function TtrpcIncoming:send(message, opts) end

end

do
---@class vmctl.TtrpcServer
local TtrpcServer = {}

--- Ends all connections now; their handlers are cancelled. Idempotent, never waits.
function TtrpcServer:close() end

--- Serves one connection until it ends, and closes it; either end may have dialled. Waits.
---@param stream vmctl.Stream
---@return true|nil
---@return string?
---@return string? code ENOTSUP: there is no protobuf here
function TtrpcServer:converse(stream) end

--- Adds a service. Does not wait.
---@param what string|vmctl.TtrpcService the service's full name, or its description
---@param handlers table<string, function|table> by the method's name: a function, or { handler =, request =, response =, client_stream =, server_stream = } where the service is not described. A unary one is called with (request, context) and returns the response; a streaming one with (stream, context). All may wait. nil, message, code is a failure: the code is a status' name, or one of ours (ENOENT: NOT_FOUND …); a fourth value are its details. A raised error is INTERNAL; its text goes to the log only. context: service, method, metadata (lists of values by lower-case key), deadline (by vmctl.now, or nil: each wait of the handler ends then), peer (an address or nil), canceled() -> boolean: the client has gone
function TtrpcServer:register(what, handlers) end

--- Serves connections until the listener is closed, or the server is shut down; may be called for several listeners. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@return true|nil
---@return string?
---@return string? code ECANCELED
function TtrpcServer:serve(listener) end

--- Shuts down: stops accepting, closes idle connections, answers new requests on the others with UNAVAILABLE, and closes each
--- after its last answer. Cancels the handlers that still run when the time is over. Waits.
---@param timeout? number seconds, 30 by default
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT: handlers had to be cancelled; ECANCELED
function TtrpcServer:shutdown(timeout) end

end

do
---@class vmctl.TtrpcService
---@field name string with its package
---@field methods table<string, table>
local TtrpcService = {}

end

do
---@class vmctl.TtrpcStream
local TtrpcStream = {}

--- Ends the stream: unread and later messages are dropped, and the server gets the end of input. The protocol cannot tell the
--- server to stop. Idempotent, never waits.
function TtrpcStream:close() end

--- Ends the input: the server's handler gets EOF, and may still send. Waits as `send`. Idempotent.
---@return true|nil
---@return string?
---@return string?
function TtrpcStream:close_send(opts) end

--- Tells if no more messages come, and why; unread ones can still be read. Does not wait.
---@return boolean ended
---@return string? reason
function TtrpcStream:ended() end

--- Iterates over the messages: ends at EOF, raises on any other failure. Each step waits without limit, unless `opts` or the
--- stream has one.
---@param opts? number|{ timeout: number? }
---@return fun(): table|string|nil
function TtrpcStream:messages(opts) end

--- The next message. Waits. A method that does not stream its answers gives the one answer, and then EOF.
---@param opts? number|{ timeout: number? } seconds; by default the client's time-out, and never beyond the stream's
---@return table|string|nil message
---@return string? message
---@return string? code EOF: the stream has ended with success; a status by its name, with the status as fourth value; ETIMEDOUT (the stream can still be used), ECANCELED, ERESET, ECLOSED, EPROTO, ETOOBIG (too many messages were not read)
---@return { code: integer, message: string, details: table[] }? status
function TtrpcStream:recv(opts) end

--- Sends a message. Waits while the connection's queue is full.
---@param message table|string a table by the method's type; bytes go as they are
---@param opts? number|{ timeout: number? }
---@return true|nil
---@return string?
---@return string? code ETIMEDOUT and ECANCELED: it was not sent; EPIPE: the server has ended the stream; ECLOSED, ERESET, ETOOBIG, EINVAL, EPROTO (a method that takes no stream), or the status with which the stream has ended
function TtrpcStream:send(message, opts) end

--- The number of unread messages. Does not wait.
---@return integer
function TtrpcStream:unread() end

end

do
---@class vmctl.Unit
---@field name string
local Unit = {}

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:disable(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:enable(opts) end

--- True if the unit is active. Waits for systemd's answer.
---@return boolean|nil
---@return string?
---@return string?
function Unit:is_active() end

--- The unit's journal; see vmctl.Machine.journal.
---@param opts? vmctl.JournalOptions
function Unit:journal(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:mask(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:reload(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:reset_failed(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:restart(opts) end

--- The properties of the unit, as `systemctl show` has them. Waits.
---@param names? string[] "ActiveState", "MainPID" … (all)
---@return table<string, string>|nil properties
---@return string?
---@return string? code EREMOTE, ENOTSUP …
function Unit:show(names) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:start(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:stop(opts) end

--- Has systemd execute this verb, and waits until its job has ended.
---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
---@return table? record of systemctl
function Unit:unmask(opts) end

--- Waits until the unit is active, or in another state. Fails at once when it has failed, or is inactive without a job of systemd's.
---@param opts? { timeout: number?, state: string? }|number seconds (60); state: of ActiveState ("active")
---@return true|nil
---@return string? message with the state of the unit and the tail of its journal
---@return string? code EREMOTE: it will not be; ETIMEDOUT; ENOTSUP: the guest has no systemctl
function Unit:wait(opts) end

end

