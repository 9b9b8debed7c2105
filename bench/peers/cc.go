// cc: cc-helper's protocol with encoding/binary, one call at a time; and a plain copy of a file over the same kind of socket.
// Usage: cc_go server SOCKET | cc_go client SOCKET KIND WARMUP COUNT
//
//	cc_go copy-server SOCKET | cc_go copy SOCKET COUNT
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	typeID       = 0x0103
	typeStat     = 0x0205
	typeRead     = 0x0301
	typeResponse = 0xFF00
	headerSize   = 6
	limit        = 64 << 20
	pieceSize    = 64 << 10
	fileSize     = 16 << 20
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cc_go:", err)
		os.Exit(1)
	}
}

type link struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte
	in     []byte
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, reader: bufio.NewReader(conn)}
}

// Begins a frame; the payload is appended to what it returns.
func (l *link) begin(kind uint16) []byte {
	l.out = binary.BigEndian.AppendUint16(l.out[:0], kind)
	return binary.BigEndian.AppendUint32(l.out, 0)
}

func (l *link) send(frame []byte) error {
	binary.BigEndian.PutUint32(frame[2:], uint32(len(frame)-headerSize))
	l.out = frame
	_, err := l.conn.Write(frame)
	return err
}

func (l *link) receive() (uint16, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(l.reader, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size > limit {
		return 0, nil, fmt.Errorf("payload too large: %d", size)
	}
	if cap(l.in) < int(size) {
		l.in = make([]byte, size)
	}
	l.in = l.in[:size]
	_, err := io.ReadFull(l.reader, l.in)
	return binary.BigEndian.Uint16(header[:]), l.in, err
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// Messages are allocated anew for each call, as a client's results are.
func takeString(b []byte) (string, []byte, error) {
	if len(b) < 4 || uint32(len(b)-4) < binary.BigEndian.Uint32(b) {
		return "", nil, io.ErrUnexpectedEOF
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	return string(b[4:n]), b[n:], nil
}

func answerStat(frame, payload []byte) []byte {
	path, _, err := takeString(payload)
	check(err)
	info, err := os.Stat(path)
	check(err)
	frame = appendString(frame, info.Name())
	frame = binary.BigEndian.AppendUint64(frame, uint64(info.Size()))
	frame = binary.BigEndian.AppendUint32(frame, uint32(info.Mode()))
	frame = binary.BigEndian.AppendUint64(frame, uint64(info.ModTime().Unix()))
	return append(frame, 0, 0)
}

func answerRead(frame, payload []byte, file *os.File, offset int64) []byte {
	size := int(binary.BigEndian.Uint32(payload[8:]))
	at := len(frame)
	frame = append(frame, make([]byte, 4+size)...)
	n, err := file.ReadAt(frame[at+4:], offset)
	if err != nil && err != io.EOF {
		check(err)
	}
	binary.BigEndian.PutUint32(frame[at:], uint32(n))
	return frame[:at+4+n]
}

func converse(conn net.Conn, file *os.File) {
	defer conn.Close()
	l := newLink(conn)
	offset := int64(0)
	for {
		kind, payload, err := l.receive()
		if err != nil {
			return
		}
		frame := append(l.begin(typeResponse), 0)
		switch kind {
		case typeID:
			frame = appendString(frame, "0a1b2c3d-0102-0304-0506-0708090a0b0c")
		case typeStat:
			frame = answerStat(frame, payload)
		case typeRead:
			frame = answerRead(frame, payload, file, offset)
			offset = (offset + pieceSize) % fileSize
		}
		if l.send(frame) != nil {
			return
		}
	}
}

func listen(path string, serve func(net.Conn)) {
	listener, err := net.Listen("unix", path)
	check(err)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		check(err)
		go serve(conn)
	}
}

// A file to read and to look at.
func pieceFile(path string) *os.File {
	check(os.WriteFile(path, make([]byte, fileSize), 0o600))
	file, err := os.Open(path)
	check(err)
	return file
}

type fileInfo struct {
	name    string
	size    int64
	mode    uint32
	modTime int64
	dir     bool
	link    bool
}

func takeInfo(b []byte) (info fileInfo, err error) {
	info.name, b, err = takeString(b)
	if err != nil || len(b) < 22 {
		return info, io.ErrUnexpectedEOF
	}
	info.size = int64(binary.BigEndian.Uint64(b))
	info.mode = binary.BigEndian.Uint32(b[8:])
	info.modTime = int64(binary.BigEndian.Uint64(b[12:]))
	info.dir, info.link = b[20] != 0, b[21] != 0
	return info, nil
}

func (l *link) call(frame []byte) []byte {
	check(l.send(frame))
	kind, payload, err := l.receive()
	check(err)
	if kind != typeResponse || len(payload) < 1 || payload[0] != 0 {
		check(fmt.Errorf("answer 0x%04x", kind))
	}
	return payload[1:]
}

func (l *link) run(kind, path string, count int) {
	for ; count > 0; count-- {
		switch kind {
		case "id":
			id, _, err := takeString(l.call(l.begin(typeID)))
			check(err)
			if len(id) != 36 {
				check(fmt.Errorf("id %q", id))
			}
		case "stat":
			info, err := takeInfo(l.call(appendString(l.begin(typeStat), path)))
			check(err)
			if info.size != fileSize {
				check(fmt.Errorf("size %d", info.size))
			}
		case "read":
			frame := binary.BigEndian.AppendUint64(l.begin(typeRead), 1)
			data, _, err := takeString(l.call(binary.BigEndian.AppendUint32(frame, pieceSize)))
			check(err)
			if len(data) != pieceSize {
				check(fmt.Errorf("%d bytes", len(data)))
			}
		}
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

// Copies the file again and again, from its beginning.
func copyOut(conn net.Conn, file *os.File) {
	defer conn.Close()
	piece := make([]byte, pieceSize)
	for at := int64(0); ; at = (at + pieceSize) % fileSize {
		_, err := file.ReadAt(piece, at)
		check(err)
		if _, err := conn.Write(piece); err != nil {
			return
		}
	}
}

func measureCopy(conn net.Conn, count int) {
	piece, start := make([]byte, pieceSize), time.Now()
	for left := count; left > 0; {
		n, err := conn.Read(piece)
		check(err)
		left -= n
	}
	fmt.Printf("RESULT mib_rate=%.9g\n", float64(count)/(1<<20)/time.Since(start).Seconds())
}

func main() {
	path := os.Args[2]
	switch os.Args[1] {
	case "server":
		file := pieceFile(path + ".file")
		listen(path, func(conn net.Conn) { converse(conn, file) })
	case "copy-server":
		file := pieceFile(path + ".file")
		listen(path, func(conn net.Conn) { copyOut(conn, file) })
	}
	conn, err := net.Dial("unix", path)
	check(err)
	if os.Args[1] == "copy" {
		measureCopy(conn, number(os.Args[3]))
		return
	}
	l, kind, count := newLink(conn), os.Args[3], number(os.Args[5])
	l.run(kind, path+".file", number(os.Args[4]))
	start := time.Now()
	l.run(kind, path+".file", count)
	fmt.Printf("RESULT rate=%.9g\n", float64(count)/time.Since(start).Seconds())
}
