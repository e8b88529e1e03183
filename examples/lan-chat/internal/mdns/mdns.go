// Package mdns announces one service of this host on one link (RFC 6762, RFC 6763), for peers that look for it.
//
// It answers questions and asks none, so it believes nobody. It does not probe for its names: they contain the id of
// the node, which the site gives out once. IPv4 only.
package mdns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

const (
	port      = 5353
	hops      = 255 // by which an asker sees that no router has passed the answer on
	packet    = 9000
	lifetime  = 120 // seconds that an answer may be kept
	questions = 32  // of one packet
	typePTR   = 12
	typeTXT   = 16
	typeSRV   = 33
	typeA     = 1
	typeANY   = 255
	classIN   = 1
)

var group = net.IPv4(224, 0, 0, 251)

// Service is what is announced.
type Service struct {
	Type      string // such as "_lan-chat._tcp"
	Instance  string // a name without dots, such as the id of the node
	Port      int
	Texts     []string // such as "node=chat-1"
	Interface string
}

// Announce answers until the context ends.
func Announce(ctx context.Context, service Service) error {
	link, err := net.InterfaceByName(service.Interface)
	if err != nil {
		return fmt.Errorf("mdns: %s: %w", service.Interface, err)
	}
	address, err := ipv4(link)
	if err != nil {
		return err
	}
	conn, err := net.ListenMulticastUDP("udp4", link, &net.UDPAddr{IP: group, Port: port})
	if err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	defer conn.Close()
	if err := limitToLink(conn, address); err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	go func() { <-ctx.Done(); conn.Close() }()
	buffer := make([]byte, packet)
	for {
		count, source, err := conn.ReadFromUDP(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mdns: %w", err)
		}
		answer := service.answer(buffer[:count], address, source.Port != port)
		if answer == nil {
			continue
		}
		// Who asks from a port of its own gets the answer alone (RFC 6762, 6.7), everybody else all together.
		target := &net.UDPAddr{IP: group, Port: port}
		if source.Port != port {
			target = source
		}
		_, _ = conn.WriteToUDP(answer, target) // a lost answer is asked for again
	}
}

func ipv4(link *net.Interface) (net.IP, error) {
	addresses, err := link.Addrs()
	if err != nil {
		return nil, fmt.Errorf("mdns: %s: %w", link.Name, err)
	}
	for _, each := range addresses {
		if network, ok := each.(*net.IPNet); ok && network.IP.To4() != nil {
			return network.IP.To4(), nil
		}
	}
	return nil, errors.New("mdns: " + link.Name + " has no IPv4 address")
}

// limitToLink sets the hops of answers, and the interface that those to the group leave by.
func limitToLink(conn *net.UDPConn, address net.IP) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var wrong error
	err = raw.Control(func(descriptor uintptr) {
		socket := int(descriptor)
		var from [4]byte
		copy(from[:], address)
		for _, each := range []error{
			syscall.SetsockoptInt(socket, syscall.IPPROTO_IP, syscall.IP_TTL, hops),
			syscall.SetsockoptInt(socket, syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, hops),
			syscall.SetsockoptInet4Addr(socket, syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, from),
		} {
			if wrong == nil {
				wrong = each
			}
		}
	})
	if err != nil {
		return err
	}
	return wrong
}

// answer returns the answer to a packet, or nil where it asks for nothing of this service.
func (s Service) answer(query []byte, address net.IP, alone bool) []byte {
	asked, ok := s.asked(query)
	if !ok {
		return nil
	}
	full, host := s.Instance+"."+s.Type+".local", s.Instance+".local"
	head := make([]byte, 12)
	binary.BigEndian.PutUint16(head[2:], 0x8400) // an answer, by who knows
	if alone {
		copy(head, query[:2]) // a plain resolver wants its number and its question back
		binary.BigEndian.PutUint16(head[4:], 1)
	}
	binary.BigEndian.PutUint16(head[6:], 4)
	out := head
	if alone {
		out = append(out, asked...)
	}
	var texts []byte
	for _, each := range s.Texts {
		texts = append(append(texts, byte(len(each))), each...)
	}
	out = record(out, s.Type+".local", typePTR, name(full))
	out = record(out, full, typeSRV, append([]byte{0, 0, 0, 0, byte(s.Port >> 8), byte(s.Port)}, name(host)...))
	out = record(out, full, typeTXT, texts)
	return record(out, host, typeA, address)
}

// asked returns the first question that is about this service, as it is in the packet.
func (s Service) asked(query []byte) ([]byte, bool) {
	if len(query) < 12 || query[2]&0x80 != 0 {
		return nil, false // an answer of somebody else
	}
	known := map[string][]uint16{
		strings.ToLower(s.Type + ".local"):                    {typePTR, typeANY},
		strings.ToLower(s.Instance + "." + s.Type + ".local"): {typeSRV, typeTXT, typeANY},
		strings.ToLower(s.Instance + ".local"):                {typeA, typeANY},
	}
	at := 12
	for count := binary.BigEndian.Uint16(query[4:]); count > 0 && count <= questions; count-- {
		text, end, ok := readName(query, at)
		if !ok || end+4 > len(query) {
			return nil, false
		}
		kind := binary.BigEndian.Uint16(query[end:])
		at = end + 4
		for _, each := range known[strings.ToLower(text)] {
			if each == kind {
				return append(name(text), query[end:end+4]...), true
			}
		}
	}
	return nil, false
}

// readName returns a name and where it ends; a pointer may lead backwards only, so that none is a loop.
func readName(data []byte, at int) (string, int, bool) {
	var labels []string
	end, least := -1, at
	for length := 0; length < 255; {
		if at >= len(data) {
			return "", 0, false
		}
		size := int(data[at])
		switch {
		case size == 0:
			if end < 0 {
				end = at + 1
			}
			return strings.Join(labels, "."), end, true
		case size >= 0xc0:
			if at+2 > len(data) {
				return "", 0, false
			}
			target := (size&0x3f)<<8 | int(data[at+1])
			if end < 0 {
				end = at + 2
			}
			if target >= least {
				return "", 0, false
			}
			at, least = target, target
		case size > 63 || at+1+size > len(data):
			return "", 0, false
		default:
			labels = append(labels, string(data[at+1:at+1+size]))
			at += 1 + size
			length += 1 + size
		}
	}
	return "", 0, false
}

func name(text string) []byte {
	var out []byte
	for _, label := range strings.Split(text, ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0)
}

func record(out []byte, about string, kind uint16, data []byte) []byte {
	out = append(out, name(about)...)
	out = append(out, byte(kind>>8), byte(kind), 0, classIN, 0, 0, 0, lifetime, byte(len(data)>>8), byte(len(data)))
	return append(out, data...)
}
