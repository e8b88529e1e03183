package mdns

import (
	"bytes"
	"net"
	"testing"
)

var (
	service = Service{Type: "_lan-chat._tcp", Instance: "chat-1", Port: 2380, Texts: []string{"node=chat-1"}}
	address = net.IPv4(10, 0, 3, 11).To4()
)

func query(text string, kind byte) []byte {
	head := []byte{0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	return append(append(head, name(text)...), 0, kind, 0, classIN)
}

func TestQuestions_about_the_service_are_answered(t *testing.T) {
	for text, kind := range map[string]byte{
		"_lan-chat._tcp.local": typePTR, "_LAN-CHAT._tcp.local": typePTR,
		"chat-1._lan-chat._tcp.local": typeSRV, "chat-1.local": typeA,
	} {
		answer := service.answer(query(text, kind), address, true)
		if answer == nil || !bytes.HasPrefix(answer, []byte{0xab, 0xcd, 0x84, 0, 0, 1, 0, 4}) {
			t.Errorf("%s: %x", text, answer)
		}
		if !bytes.Contains(answer, []byte("node=chat-1")) || !bytes.Contains(answer, address) {
			t.Errorf("%s: %q", text, answer)
		}
	}
}

func TestAn_answer_for_all_has_no_number_and_no_question(t *testing.T) {
	answer := service.answer(query("_lan-chat._tcp.local", typePTR), address, false)
	if !bytes.HasPrefix(answer, []byte{0, 0, 0x84, 0, 0, 0, 0, 4}) {
		t.Fatalf("%x", answer)
	}
}

func TestWhat_asks_for_nothing_of_the_service_is_not_answered(t *testing.T) {
	reply := query("_lan-chat._tcp.local", typePTR)
	reply[2] = 0x84
	loop := append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0xc0, 12, 0, typePTR, 0, classIN)
	for fault, packet := range map[string][]byte{
		"nothing":             {},
		"half a head":         {0, 1, 2},
		"another service":     query("_http._tcp.local", typePTR),
		"another type":        query("_lan-chat._tcp.local", typeTXT),
		"an answer":           reply,
		"a name cut off":      query("_lan-chat._tcp.local", typePTR)[:20],
		"a question cut off":  query("_lan-chat._tcp.local", typePTR)[:35],
		"a pointer to itself": loop,
	} {
		if answer := service.answer(packet, address, true); answer != nil {
			t.Errorf("%s: %x", fault, answer)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(query("_lan-chat._tcp.local", typePTR))
	f.Add([]byte{0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 'a', 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, packet []byte) { service.answer(packet, address, true) })
}
