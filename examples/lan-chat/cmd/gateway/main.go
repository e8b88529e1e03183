// Command gateway is what people talk to: the web client, and a chat over HTTP with server-sent events.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lan-chat/internal/chat"
	"lan-chat/internal/mdns"
	"lan-chat/internal/service"
)

// version is set by the Makefile.
var version = "0.0.0"

const (
	// silence is how long a stream of a store may be silent: it has a heartbeat every 15 seconds.
	silence = 40 * time.Second
	// pause is between two tries to find a store for a stream.
	pause = 500 * time.Millisecond
	// lineLimit bounds one message of a store, in bytes.
	lineLimit = 256 << 10
	// announceAgain is the pause after an announcement by mDNS that failed, such as of a link that is down.
	announceAgain = 10 * time.Second
)

type gateway struct {
	log     *service.Logger
	stores  []string
	token   string
	cluster string
	node    string
	calls   *http.Client // for answers that end
	follow  *http.Client // for streams
	next    atomic.Int64 // the store that answered last
	slots   chan struct{}

	streams, failures *service.Metric
}

func main() { service.Main("gateway", version, start) }

func start(config *service.Config, log *service.Logger) *service.Service {
	metrics := &service.Registry{}
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, ResponseHeaderTimeout: 10 * time.Second, MaxIdleConnsPerHost: 32,
	}
	g := &gateway{
		log:      log,
		stores:   config.List("LAN_CHAT_STORES"),
		token:    config.Secret("LAN_CHAT_TOKEN_FILE"),
		cluster:  config.String("LAN_CHAT_CLUSTER", ""),
		node:     config.String("LAN_CHAT_NODE", ""),
		calls:    &http.Client{Transport: transport, Timeout: 12 * time.Second},
		follow:   &http.Client{Transport: transport},
		slots:    make(chan struct{}, config.Int("LAN_CHAT_STREAMS", 500, 1, 10000)),
		streams:  metrics.Gauge("lan_chat_streams", "Streams that are open."),
		failures: metrics.Counter("lan_chat_failures_total", "Calls that failed because no store answered."),
	}
	metrics.Gauge("lan_chat_build_info", "Always 1.", "service", "version", "cluster", "node").
		Set(1, "gateway", version, g.cluster, g.node)
	web := config.String("LAN_CHAT_WEB", "")
	if _, err := os.Stat(path.Join(web, "index.html")); web != "" && err != nil {
		log.Error("the web client is not there", "error", err)
	}
	announced := mdns.Service{
		Type: "_lan-chat._tcp", Instance: strings.ReplaceAll(g.node, ".", "-"),
		Port:      config.Int("LAN_CHAT_PEER_PORT", 2380, 1, 65535),
		Texts:     []string{"cluster=" + g.cluster, "node=" + g.node},
		Interface: config.Optional("LAN_CHAT_MDNS_INTERFACE"),
	}
	files := http.FileServer(noListing{http.Dir(web)})
	return &service.Service{
		Log: log, Metrics: metrics, Health: g.health,
		Background: func(ctx context.Context) { g.announce(ctx, announced) },
		Handler:    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, files) }),
		Listen:     config.Address("LAN_CHAT_LISTEN", 0),
		Admin:      config.Address("LAN_CHAT_ADMIN_LISTEN", 0),
	}
}

// announce tells the link where this member of the cluster is, if the site names a link.
func (g *gateway) announce(ctx context.Context, service mdns.Service) {
	for service.Interface != "" && ctx.Err() == nil {
		if err := mdns.Announce(ctx, service); err != nil {
			g.log.Error("this host is not announced", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(announceAgain):
		}
	}
}

func (g *gateway) health(ctx context.Context) (map[string]any, error) {
	about := map[string]any{"service": "gateway", "version": version, "cluster": g.cluster, "node": g.node}
	response, err := g.ask(ctx, g.calls, http.MethodGet, "/v1/ready", nil)
	if err != nil {
		return about, err
	}
	defer response.Body.Close()
	var store struct{ Node, Leader string }
	if err := json.NewDecoder(io.LimitReader(response.Body, lineLimit)).Decode(&store); err != nil {
		return about, err
	}
	about["store"], about["leader"] = store.Node, store.Leader
	return about, nil
}

// serve answers /api/channels/CHANNEL/messages and …/events; everything else is a file of the web client.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request, files http.Handler) {
	// Pages of other sites can neither read nor frame this one.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Content-Security-Policy", policy(r.URL.Path))
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) == 4 && parts[0] == "api" && parts[1] == "channels" && parts[3] == "messages" && r.Method == http.MethodPost:
		g.send(w, r, parts[2])
	case len(parts) == 4 && parts[0] == "api" && parts[1] == "channels" && parts[3] == "events" && r.Method == http.MethodGet:
		g.events(w, r, parts[2])
	case parts[0] == "api":
		service.WriteError(w, http.StatusNotFound, "there is no such address")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		service.WriteError(w, http.StatusMethodNotAllowed, "files are read only")
	default:
		w.Header().Set("Cache-Control", "no-cache") // a client never mixes files of two releases
		files.ServeHTTP(w, r)
	}
}

func policy(name string) string {
	const own = "default-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
	if strings.HasPrefix(name, "/app/") { // Flutter compiles WebAssembly and sets styles
		return own + "; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'"
	}
	return own
}

// send hands a message to a store. The content type keeps pages of other sites from sending in a person's name.
func (g *gateway) send(w http.ResponseWriter, r *http.Request, channel string) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		service.WriteError(w, http.StatusUnsupportedMediaType, "send application/json")
		return
	}
	var draft struct {
		Key    string `json:"key"`
		Author string `json:"author"`
		Text   string `json:"text"`
	}
	if err := json.NewDecoder(r.Body).Decode(&draft); err != nil {
		service.WriteError(w, http.StatusBadRequest, "send {\"author\": …, \"text\": …}: "+err.Error())
		return
	}
	if chat.CheckChannel(channel) != nil {
		service.WriteError(w, http.StatusBadRequest, chat.CheckChannel(channel).Error())
		return
	}
	draft.Key = chat.NewKey() // a message that a second store gets, after a lost answer, is still one message
	body, err := json.Marshal(draft)
	if err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	response, err := g.ask(r.Context(), g.calls, http.MethodPost, "/v1/channels/"+channel+"/messages", body)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	defer response.Body.Close()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, lineLimit))
}

// events sends a channel's messages as server-sent events, and goes on at another store when one goes away.
func (g *gateway) events(w http.ResponseWriter, r *http.Request, channel string) {
	if err := chat.CheckChannel(channel); err != nil {
		service.WriteError(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		w.Header().Set("Retry-After", "5")
		service.WriteError(w, http.StatusServiceUnavailable, "too many streams are open")
		return
	}
	g.streams.Add(1)
	defer g.streams.Add(-1)
	last, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	out := service.NewStream(w, r, "text/event-stream")
	ctx, cancel := service.StreamContext(r)
	defer cancel()
	for ctx.Err() == nil {
		err := g.pass(ctx, out, channel, &last)
		if errors.Is(err, errClient) {
			return
		}
		if ctx.Err() == nil {
			g.failures.Add(1)
			g.log.Info("a stream goes on at another store", "channel", channel, "error", err)
		}
		g.next.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

var errClient = errors.New("the client has gone")

// pass hands on the messages of one store's stream until it ends; `last` is the ID of the last one.
func (g *gateway) pass(ctx context.Context, out io.Writer, channel string, last *int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address := fmt.Sprintf("/v1/channels/%s/stream?after=%d", channel, *last)
	response, err := g.ask(ctx, g.follow, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("a store answers " + response.Status)
	}
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		dead.Reset(silence)
		event := []byte(":\n\n")
		if len(lines.Bytes()) > 0 {
			var message chat.Message
			if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
				return err
			}
			*last = message.ID
			event = []byte(fmt.Sprintf("id: %d\ndata: %s\n\n", message.ID, lines.Bytes()))
		}
		if _, err := out.Write(event); err != nil {
			return errClient
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// ask calls the stores in turn, first the one that answered last, until one answers without a failure of its own.
func (g *gateway) ask(ctx context.Context, client *http.Client, method, address string, body []byte) (*http.Response, error) {
	var failures []string
	first := int(g.next.Load())
	for offset := range g.stores {
		number := (first + offset) % len(g.stores)
		request, err := http.NewRequestWithContext(ctx, method, g.stores[number]+address, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+g.token)
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err == nil && response.StatusCode < 500 && response.StatusCode != http.StatusUnauthorized {
			g.next.Store(int64(number))
			return response, nil
		}
		if err == nil {
			response.Body.Close()
			err = fmt.Errorf("%s answers %s", g.stores[number], response.Status)
		}
		failures = append(failures, err.Error())
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.New("no store answers: " + strings.Join(failures, "; "))
}

func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	g.failures.Add(1)
	g.log.Error("a request failed", "error", err)
	service.WriteError(w, http.StatusBadGateway, "no store answers; try again")
}

// noListing hides directories without an index.html.
type noListing struct{ http.FileSystem }

func (n noListing) Open(name string) (http.File, error) {
	file, err := n.FileSystem.Open(name)
	if err != nil {
		return nil, err
	}
	if about, err := file.Stat(); err == nil && about.IsDir() {
		index, err := n.FileSystem.Open(path.Join(name, "index.html"))
		if err != nil {
			file.Close()
			return nil, os.ErrNotExist
		}
		index.Close()
	}
	return file, nil
}
