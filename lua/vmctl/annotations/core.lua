---@meta
-- The classes of the C core, for editors and for readers. Nothing here is loaded.
--
-- A time-out is a number of seconds or a table with `timeout`; nil takes the default that is named, 0 takes only what is there,
-- math.huge waits for ever. A call that waits yields in a task and drives the loop in a plain script. On failure a call returns
-- nil, message, code; the codes that every waiting call can give are ETIMEDOUT, ECANCELED, ECLOSED and EDEADLK.

--- A byte stream: a socket, a pair of pipes, a terminal, a serial port. One task may read and one may write at a time; a second
--- one gets EBUSY at once. Reads and writes that name no time-out take the stream's own (60 s, see set_timeout).
---@class vmctl.Stream
local Stream = {}

--- Reads what is there, at least one byte, at most `n`. Waits.
---@param n? integer bytes
---@param timeout? number|table
---@return string|nil bytes
---@return string? message
---@return string? code EOF at the end
function Stream:read(n, timeout) end

--- Reads exactly `n` bytes. Waits. A stream that ends before that gives EPROTO, and what came stays readable with `read`.
---@param n integer bytes
---@param timeout? number|table
---@return string|nil bytes
---@return string? message
---@return string? code EOF, EPROTO, ETOOBIG (more than the stream may hold)
function Stream:read_exact(n, timeout) end

--- Reads a line, without its LF and a CR before it. Waits. After a line over the limit every read fails with ETOOBIG, until
--- `skip_past "\n"` has found its end; the peer can still be told.
---@param max? integer bytes with the LF, 1 MiB by default
---@param timeout? number|table
---@return string|nil line
---@return string? message
---@return string? code EOF, EPROTO (the stream ended inside a line), ETOOBIG
---@return string? start of a line over the limit: its first 256 bytes at most
function Stream:read_line(max, timeout) end

--- Reads a frame of the stream's format. Waits. After a header that announces more than the limit every read fails with
--- ETOOBIG, until `skip_frame` has thrown the frame away; the peer can still be told. The fourth value of that failure is
--- { type =, stream =, flags =, size = }.
---@param timeout? number|table
---@param split? integer bytes, at most 16: the payload has only so many; what follows them is one more value, at the end
---@return integer|string|nil type the payload comes first where the format has no type
---@return string payload_or_message
---@return integer|string? stream_id_or_code where the format has one; on failure EOF, EPROTO, ETOOBIG
---@return integer? flags
function Stream:read_frame(timeout, split) end

--- Reads all complete frames that are there, at least one. Waits.
---@param most? integer 256 by default
---@param timeout? number|table
---@return string[]|nil payloads
---@return integer[]|string? types where the format has a type; on failure the message
---@return string? code
function Stream:read_frames(most, timeout) end

--- Reads a part of a frame over the limit, as it comes. Waits. What is left of it is still in the way.
---@param most integer bytes
---@param timeout? number|table
---@return string|nil bytes "" when there is no more of it, string?, string? code EOF …
function Stream:read_skipped(most, timeout) end

--- Throws away the rest of a frame over the limit, as it comes: memory stays bounded. Waits. After a time-out it is still in
--- the way.
---@param timeout? number|table
---@return true|nil, string?, string? code EOF …
function Stream:skip_frame(timeout) end

--- Writes a frame whose payload is a zero byte, a number (32 bits, big endian) and that many bytes of a file, from its position on.
--- They go from the file to the socket without a copy in this process; a file that is changed before they are received shows that.
--- Waits. For at least 128 KiB of a regular file on a local file system, and a stream without untold output.
---@param type integer
---@param file vmctl.File
---@param most integer bytes of the file; 1 MiB are the most at once
---@param timeout? number|table
---@return boolean|nil done false: nothing was read or written, the caller has to do it otherwise
---@return string?, string?
function Stream:write_file_frame(type, file, most, timeout) end

--- Throws input away up to the end of the first match. Waits.
---@param pattern string bytes, not a Lua pattern
---@param timeout? number|table
---@return true|nil, string?, string?
function Stream:skip_past(pattern, timeout) end

--- Writes bytes. Waits until the kernel has all of them (on a corked stream: until there is room).
---@param bytes string
---@param timeout? number|table
---@return true|nil ok
---@return string? message
---@return string? code EPIPE, ECONNRESET …
---@return integer? taken bytes that are sent or queued
function Stream:write(bytes, timeout) end

--- Writes a frame: as a whole, whatever happens to the caller meanwhile. Waits as `write` does.
---@param type integer left out where the format has no type
---@param payload string
---@param ... any stream id and flags where the format has them; then the time-out
---@return true|nil, string?, string? code ETOOBIG: over the type's limit, nothing was sent
function Stream:write_frame(type, payload, ...) end

--- Writes frames in one piece. Waits as `write` does.
---@param types integer|integer[] left out where the format has no type
---@param payloads string[]
---@param timeout? number|table
---@return true|nil ok
---@return string? message
---@return string? code
---@return integer? done frames that are sent or queued
function Stream:write_frames(types, payloads, timeout) end

--- From now on output gathers, up to 64 KiB, and leaves when that is full, at `flush`, or when the task waits next.
function Stream:cork() end

--- Ends `cork`, and waits until all output is with the kernel.
---@param timeout? number|table
---@return true|nil, string?, string?
function Stream:flush(timeout) end

--- Ends our sending side once all output is with the kernel; the peer reads an end of stream, and we can still read. Waits.
---@param timeout? number|table
---@return true|nil, string?, string?
function Stream:shutdown(timeout) end

--- Closes it: idempotent, never waits. Who waits on it gets ECLOSED.
function Stream:close() end

--- Makes it as if the peer of a socket had gone without a word: who reads or writes learns ECONNRESET, a relay that has the
--- stream ends so. What was received before is still there to be read. Idempotent; does not wait.
---@return true
function Stream:hang_up() end

--- Closes it as a failure: TCP tells the peer by a reset, a Unix socket does so if bytes of the peer are still unread; else the
--- peer sees an end. Idempotent, never waits.
function Stream:reset() end

--- Tells if it is closed on this side.
---@return boolean
function Stream:closed() end

--- Forgets what was received and not read, and what was queued and not sent.
function Stream:discard() end

--- Hands the descriptor over: the stream is closed, the descriptor is not.
---@return integer|nil fd, string leftover bytes that were received and not read, string? code EBUSY, ENOTSUP (it has two)
function Stream:detach() end

--- The descriptor, which stays the stream's.
---@return integer|nil, string?, string?
function Stream:fileno() end

--- The peer's address.
---@return vmctl.Address|nil, string?, string?
function Stream:peer() end

--- Our own address.
---@return vmctl.Address|nil, string?, string?
function Stream:address() end

--- The credentials of the peer (SO_PEERCRED of a Unix socket).
---@return { pid: integer, uid: integer, gid: integer }|nil, string?, string? code ENOTSUP on any other kind, AF_VSOCK included
function Stream:credentials() end

--- Counters of bytes: received, sent, and in its buffers.
---@return { bytes_in: integer, bytes_out: integer, buffered_in: integer, buffered_out: integer }
function Stream:stats() end

--- Sets the time-outs of calls that give none.
---@param seconds number|{ read: number?, write: number? }
---@return vmctl.Stream
function Stream:set_timeout(seconds) end

--- Sets the format of its frames.
---@param format vmctl.Format|table
---@return vmctl.Stream
function Stream:set_format(format) end

--- Its name in errors; sets it if given.
---@param label? string
---@return string
function Stream:label(label) end

--- Sets the size of a terminal.
---@return true|nil, string?, string? code ENOTTY
function Stream:resize(rows, cols) end

--- Has the peer ended its side, even though bytes of it may still be unread?
---@return boolean ended, boolean gone altogether, boolean unread: there are such bytes (of a socket)
function Stream:hung_up() end

--- A listening socket.
---@class vmctl.Listener
local Listener = {}

--- Accepts a connection. Waits. Out of descriptors it waits as well: the backlog keeps the connection.
---@param timeout? number|table for ever by default
---@return vmctl.Stream|nil, string?, string? code ECLOSED, EMFILE when the time-out ended while descriptors were lacking
function Listener:accept(timeout) end

--- Stops listening and removes a Unix socket's file. Idempotent, never waits.
function Listener:close() end

--- Leaves a Unix socket's file to the caller: `close` neither removes it nor looks at it. Does not wait.
function Listener:leave_file() end

--- Where it listens. On every CID of vsock: the machine's own, where it is known. Does not wait.
---@return vmctl.Address|nil, string?, string?
function Listener:address() end

--- The descriptor, which stays the listener's.
---@return integer|nil, string?, string?
function Listener:fileno() end

--- A task.
---@class vmctl.Task
local Task = {}

--- Waits for its end. A task that failed raises its error here.
---@param timeout? number|table for ever by default
---@return any ... what its function returned
function Task:join(timeout) end

--- Its present wait and the next one fail with ECANCELED, and so do those of the scopes that it has opened; one that is begun
--- after these raises. In closing methods (`<close>`) waits only fail.
function Task:cancel() end

--- How far it is.
---@return "ready"|"running"|"waiting"|"done"|"failed"
function Task:status() end

--- A scope, as vmctl.scope gives it to its function.
---@class vmctl.Scope
local Scope = {}

--- Cancels its tasks and what its owner waits for inside it, as `Task:cancel` does.
function Scope:cancel() end

--- A frame format, compiled by vmctl.format.
---@class vmctl.Format

--- A capture of what goes through an Ethernet switch, made by its `capture`.
---@class vmctl.Capture
local Capture = {}

--- How it does. A write that failed ends it: what comes then is missing from the file. Does not wait.
---@return integer|nil frames in the file, or on their way there
---@return integer|string lost_or_message how many frames were left out, as there was no room for them
---@return integer|string waiting_or_code bytes that the reader of a pipe has not taken; or the code of the write that failed: ENOSPC …
function Capture:status() end

--- Tells if it still captures: it was not closed, nor was its switch.
---@return boolean
function Capture:is_open() end

--- Writes what is left and ends it: idempotent, never waits.
---@return integer|nil frames how many were written
---@return string? message
---@return string? code of the first write that failed: ENOSPC …
function Capture:close() end

--- The event loop, for a host program that has one of its own: watch pollfd() for reading, wait no longer than timeout(), then
--- call step(0). The three names are those that cqueues polls.
---@class vmctl.Loop
local Loop = {}

--- The descriptor to watch for reading.
---@return integer fd
function Loop.pollfd() end

--- The events to watch it for.
---@return "r"
function Loop.events() end

--- How long a host program may wait before the next `step`. Does not wait itself.
---@return number? seconds until there is something to do; nil: only when the fd says so
function Loop.timeout() end

--- Runs tasks and callbacks that are due, waiting at most that long.
---@param seconds? number 0 by default
---@return boolean alive false: nothing is left that could ever happen
function Loop.step(seconds) end

--- A folder of core.fs that stands for "/": nothing above it is reached. Its calls block; vmctl's own rooms take them through a worker.
---@class vmctl.Root

--- A file of a vmctl.Root.
---@class vmctl.File

--- Unary calls that the core makes over a framed stream; for vmctl.ttrpc.
---@class vmctl.Calls

--- Requests that the core reads from a framed stream; for vmctl.ttrpc.
---@class vmctl.Requests
