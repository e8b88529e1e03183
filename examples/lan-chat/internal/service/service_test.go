package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for at := 0; at < len(pairs); at += 2 {
			if pairs[at] == name {
				return pairs[at+1]
			}
		}
		return ""
	}
}

func TestEverything_wrong_with_the_configuration_is_said_at_once(t *testing.T) {
	config := NewConfig(environment("NUMBER", "many", "ADDRESS", "here", "SECRET", "/nowhere"))
	config.String("NAME", "")
	config.Int("NUMBER", 1, 1, 9)
	config.Address("ADDRESS", 0)
	config.Secret("SECRET")
	config.List("LIST")
	err := config.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"NAME", "NUMBER", "ADDRESS", "SECRET", "LIST"} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}

func TestThe_number_of_a_replica_is_added_to_its_port(t *testing.T) {
	config := NewConfig(environment("ADDRESS", "127.0.0.1:7070"))
	if found := config.Address("ADDRESS", 2); found != "127.0.0.1:7072" || config.Err() != nil {
		t.Fatal(found, config.Err())
	}
}

func TestA_secret_is_the_first_line_of_a_file_and_a_short_one_is_refused(t *testing.T) {
	directory := t.TempDir()
	long, short := filepath.Join(directory, "long"), filepath.Join(directory, "short")
	for name, text := range map[string]string{long: "0123456789abcdef\nmore\n", short: "123\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := NewConfig(environment("A", long, "B", short))
	if found := config.Secret("A"); found != "0123456789abcdef" || config.Err() != nil {
		t.Fatal(found, config.Err())
	}
	config.Secret("B")
	if err := config.Err(); err == nil || !strings.Contains(err.Error(), "fewer than 16") {
		t.Fatal(err)
	}
}

func TestA_line_of_the_log_is_one_object(t *testing.T) {
	var out bytes.Buffer
	NewLogger(&out, "service", "test").Error("it\nfailed", "error", errors.New("no"), "count", 3)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	if line["level"] != "error" || line["service"] != "test" || line["error"] != "no" || line["count"] != 3.0 {
		t.Fatal(line)
	}
}

func TestMetrics_are_written_as_prometheus_reads_them(t *testing.T) {
	var registry Registry
	registry.Counter("b_total", "Plain.")
	registry.Gauge("a", "With labels.", "name").Set(2, "say \"x\"\n")
	var out bytes.Buffer
	registry.write(&out)
	want := "# HELP b_total Plain.\n# TYPE b_total counter\nb_total 0\n" +
		"# HELP a With labels.\n# TYPE a gauge\na{name=\"say \\\"x\\\"\\n\"} 2\n"
	if out.String() != want {
		t.Fatal(out.String())
	}
}

// running starts a service on loopback and returns its addresses and what ends it.
func running(t *testing.T, handler http.HandlerFunc) (string, string, func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	free := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		return listener.Addr().String()
	}
	service := &Service{
		Log: NewLogger(io.Discard), Metrics: &Registry{}, Listen: free(), Admin: free(), Handler: handler,
		Health: func(context.Context) (map[string]any, error) { return map[string]any{}, nil },
	}
	ended := make(chan error, 1)
	go func() { ended <- service.run(ctx) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if response, err := http.Get("http://" + service.Admin + "/healthz"); err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the service does not start")
		}
	}
	return "http://" + service.Listen, "http://" + service.Admin, func() error { stop(); return <-ended }
}

func TestA_request_that_runs_comes_to_its_end_and_a_stream_ends(t *testing.T) {
	inside, finish := make(chan struct{}, 2), make(chan struct{})
	address, _, stop := running(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		if r.URL.Path == "/stream" {
			stream := NewStream(w, r, "text/plain")
			_, _ = stream.Write([]byte("begun\n"))
			ctx, cancel := StreamContext(r)
			defer cancel()
			<-ctx.Done()
			return
		}
		<-finish
		_, _ = w.Write([]byte("done"))
	})
	bodies := make(chan string, 2)
	for _, path := range []string{"/stream", "/slow"} {
		go func(path string) {
			response, err := http.Get(address + path)
			if err != nil {
				bodies <- path + err.Error()
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				body = append(body, err.Error()...)
			}
			bodies <- path + " " + string(body)
		}(path)
		<-inside
	}
	ended := make(chan error)
	go func() { ended <- stop() }()
	if body := <-bodies; body != "/stream begun\n" {
		t.Fatal(body)
	}
	close(finish)
	if body := <-bodies; body != "/slow done" {
		t.Fatal(body)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestA_request_that_panics_is_answered_and_counted(t *testing.T) {
	address, admin, stop := running(t, func(http.ResponseWriter, *http.Request) { panic("fault") })
	response, err := http.Get(address)
	if err != nil || response.StatusCode != http.StatusInternalServerError {
		t.Fatal(response, err)
	}
	response.Body.Close()
	metrics, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(metrics.Body)
	metrics.Body.Close()
	if !strings.Contains(string(text), `lan_chat_requests_total{code="500"} 1`) {
		t.Fatal(string(text))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestA_body_that_is_too_long_is_not_read(t *testing.T) {
	read := make(chan error, 1)
	address, _, stop := running(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	response, err := http.Post(address, "text/plain", strings.NewReader(strings.Repeat("x", bodyLimit+1)))
	if err == nil {
		response.Body.Close()
	}
	if <-read == nil {
		t.Fatal("it was read")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
