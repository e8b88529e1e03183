package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lan-chat/internal/service"
)

// started returns a gateway for some stores, with a web client in a directory.
func started(t *testing.T, web string, stores ...string) *httptest.Server {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{
		"LAN_CHAT_STORES": strings.Join(stores, ","), "LAN_CHAT_TOKEN_FILE": token, "LAN_CHAT_CLUSTER": "test",
		"LAN_CHAT_NODE": "node", "LAN_CHAT_WEB": web, "LAN_CHAT_LISTEN": "127.0.0.1:1", "LAN_CHAT_ADMIN_LISTEN": "127.0.0.1:2",
	}
	config := service.NewConfig(func(name string) string { return variables[name] })
	made := start(config, service.NewLogger(io.Discard))
	if err := config.Err(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(made.Handler)
	t.Cleanup(server.Close)
	return server
}

func website(t *testing.T) string {
	t.Helper()
	web := t.TempDir()
	for name, text := range map[string]string{"index.html": "chat", "app/index.html": "flutter", "assets/x.txt": "x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(web, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(web, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return web
}

func store(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestA_message_goes_to_another_store_with_the_same_key(t *testing.T) {
	var keys []string
	take := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			keys = append(keys, string(body))
			if r.Header.Get("Authorization") != "Bearer 0123456789abcdef" {
				t.Error("the token is missing")
			}
			w.WriteHeader(status)
		}
	}
	server := started(t, website(t), store(t, take(http.StatusServiceUnavailable)), store(t, take(http.StatusCreated)))
	response, err := http.Post(server.URL+"/api/channels/lobby/messages", "application/json", strings.NewReader(`{"author":"a","text":"b"}`))
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Fatal(response, err)
	}
	response.Body.Close()
	if len(keys) != 2 || keys[0] != keys[1] || !strings.Contains(keys[0], `"key":"`) {
		t.Fatal(keys)
	}
}

func TestEvents_go_on_at_another_store_after_the_last_message(t *testing.T) {
	first := store(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"id":7,"text":"one"}`) // and then the store goes away
	})
	asked := make(chan string, 10)
	second := store(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RawQuery
		fmt.Fprintln(w, `{"id":8,"text":"two"}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	server := started(t, website(t), first, second)
	response, err := http.Get(server.URL + "/api/channels/lobby/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines, seen := bufio.NewScanner(response.Body), ""
	for !strings.Contains(seen, `"two"`) && lines.Scan() {
		seen += lines.Text() + "\n"
	}
	if seen != "id: 7\ndata: {\"id\":7,\"text\":\"one\"}\n\nid: 8\ndata: {\"id\":8,\"text\":\"two\"}\n" {
		t.Fatal(seen)
	}
	if query := <-asked; query != "after=7" {
		t.Fatal(query)
	}
}

func TestRequests_that_the_gateway_refuses(t *testing.T) {
	server := started(t, website(t), "http://127.0.0.1:1")
	for _, each := range []struct {
		fault, method, path, kind, body string
		status                          int
	}{
		{"a form of another site", "POST", "/api/channels/lobby/messages", "text/plain", `{}`, 415},
		{"no JSON", "POST", "/api/channels/lobby/messages", "application/json", `hello`, 400},
		{"a channel with dots", "POST", "/api/channels/.../messages", "application/json", `{}`, 400},
		{"no store", "POST", "/api/channels/lobby/messages", "application/json", `{}`, 502},
		{"an unknown address", "GET", "/api/channels", "", "", 404},
		{"a directory without index", "GET", "/assets/", "", "", 404},
		{"a file outside", "GET", "/../secret", "", "", 404},
		{"a file that is written", "PUT", "/index.html", "", "x", 405},
	} {
		request, err := http.NewRequest(each.method, server.URL+each.path, strings.NewReader(each.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", each.kind)
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != each.status {
			t.Errorf("%s: %v, %v", each.fault, response, err)
			continue
		}
		response.Body.Close()
	}
}

func TestThe_web_client_and_the_flutter_client_are_served_with_a_policy(t *testing.T) {
	server := started(t, website(t), "http://127.0.0.1:1")
	for path, want := range map[string][2]string{"/": {"chat", "default-src 'self'"}, "/app/": {"flutter", "wasm-unsafe-eval"}} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if string(body) != want[0] || !strings.Contains(response.Header.Get("Content-Security-Policy"), want[1]) {
			t.Errorf("%s: %s, %v", path, body, response.Header)
		}
	}
}
