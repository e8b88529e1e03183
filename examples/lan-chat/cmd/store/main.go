// Command store keeps the messages: several replicas of it share one log in etcd, and elect a leader that trims it.
package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lan-chat/internal/chat"
	"lan-chat/internal/election"
	"lan-chat/internal/etcd"
	"lan-chat/internal/service"
)

// version is set by the Makefile.
var version = "0.0.0"

const (
	// heartbeat is how often a stream without messages writes an empty line, so that both sides notice a dead one.
	heartbeat = 15 * time.Second
	// trimEvery is how often the leader removes old messages.
	trimEvery = 10 * time.Second
)

type store struct {
	log      *service.Logger
	messages *chat.Log
	election *election.Election
	token    []byte
	cluster  string
	node     string
	keep     int
	slots    chan struct{}

	written, trimmed, failures, streams, leads *service.Metric
}

func main() { service.Main("store", version, start) }

func start(config *service.Config, log *service.Logger) *service.Service {
	instance := service.Instance(config)
	cluster := config.String("LAN_CHAT_CLUSTER", "")
	node := config.String("LAN_CHAT_NODE", "")
	if instance > 0 {
		node = fmt.Sprintf("%s-%d", node, instance)
	}
	client := etcd.New(config.List("LAN_CHAT_ETCD"))
	metrics := &service.Registry{}
	s := &store{
		log:      log,
		messages: chat.NewLog(client, cluster, node, config.Int("LAN_CHAT_MESSAGE_BYTES", 4096, 1, 65536)),
		token:    []byte(config.Secret("LAN_CHAT_TOKEN_FILE")),
		cluster:  cluster,
		node:     node,
		keep:     config.Int("LAN_CHAT_HISTORY", 1000, 1, 100000),
		slots:    make(chan struct{}, config.Int("LAN_CHAT_STREAMS", 500, 1, 10000)),
		written:  metrics.Counter("lan_chat_messages_total", "Messages that this replica took."),
		trimmed:  metrics.Counter("lan_chat_trimmed_total", "Old messages that this replica removed as the leader."),
		failures: metrics.Counter("lan_chat_failures_total", "Calls that failed because etcd did not answer."),
		streams:  metrics.Gauge("lan_chat_streams", "Streams that are open."),
		leads:    metrics.Gauge("lan_chat_leader", "1 on the replica that is the leader, 0 on the others."),
	}
	metrics.Gauge("lan_chat_build_info", "Always 1.", "service", "version", "cluster", "node").
		Set(1, "store", version, cluster, node)
	changes := metrics.Counter("lan_chat_leader_changes_total", "Elections that this replica has seen, without the first.")
	ttl := time.Duration(config.Int("LAN_CHAT_LEASE_SECONDS", 6, 2, 60)) * time.Second
	s.election = election.New(client, "/lan-chat/"+cluster+"/leader", node, ttl, func(leader string, change bool) {
		log.Info("leader", "leader", leader, "node", node)
		if change {
			changes.Add(1)
		}
	})
	return &service.Service{
		Log: log, Metrics: metrics, Handler: http.HandlerFunc(s.serve), Health: s.health, Background: s.background,
		Listen: config.Address("LAN_CHAT_LISTEN", instance),
		Admin:  config.Address("LAN_CHAT_ADMIN_LISTEN", instance),
	}
}

func (s *store) health(ctx context.Context) (map[string]any, error) {
	about := map[string]any{
		"service": "store", "version": version, "cluster": s.cluster, "node": s.node, "leader": s.election.Leader(),
	}
	return about, s.messages.Ready(ctx)
}

// background takes part in the election, and trims the log while this replica is the leader.
func (s *store) background(ctx context.Context) {
	var elections sync.WaitGroup
	elections.Add(1)
	go func() {
		defer elections.Done()
		s.election.Run(ctx)
	}()
	defer elections.Wait()
	trim, look := time.NewTicker(trimEvery), time.NewTicker(time.Second)
	defer trim.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			s.leads.Set(0)
			if s.election.Leads() {
				s.leads.Set(1)
			}
		case <-trim.C:
			s.trim(ctx)
		}
	}
}

func (s *store) trim(ctx context.Context) {
	if !s.election.Leads() {
		return
	}
	removed, err := s.messages.Trim(ctx, s.keep)
	s.trimmed.Add(float64(removed))
	if err != nil && ctx.Err() == nil {
		s.failures.Add(1)
		s.log.Error("old messages cannot be removed", "error", err)
	}
}

// serve answers /v1/ready and /v1/channels/CHANNEL/messages and …/stream.
func (s *store) serve(w http.ResponseWriter, r *http.Request) {
	given := []byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if subtle.ConstantTimeCompare(given, s.token) != 1 {
		service.WriteError(w, http.StatusUnauthorized, "the token is missing or wrong")
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[0] == "v1" && parts[1] == "ready" && r.Method == http.MethodGet:
		about, err := s.health(r.Context())
		if err != nil {
			s.fail(w, r, err)
			return
		}
		service.WriteJSON(w, http.StatusOK, about)
	case len(parts) == 4 && parts[0] == "v1" && parts[1] == "channels" && parts[3] == "messages" && r.Method == http.MethodPost:
		s.append(w, r, parts[2])
	case len(parts) == 4 && parts[0] == "v1" && parts[1] == "channels" && parts[3] == "messages" && r.Method == http.MethodGet:
		messages, _, err := s.messages.Since(r.Context(), parts[2], after(r))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		service.WriteJSON(w, http.StatusOK, messages)
	case len(parts) == 4 && parts[0] == "v1" && parts[1] == "channels" && parts[3] == "stream" && r.Method == http.MethodGet:
		s.stream(w, r, parts[2])
	default:
		service.WriteError(w, http.StatusNotFound, "there is no such address")
	}
}

func after(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

func (s *store) append(w http.ResponseWriter, r *http.Request, channel string) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		service.WriteError(w, http.StatusUnsupportedMediaType, "send application/json")
		return
	}
	var draft struct{ Key, Author, Text string }
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&draft); err != nil {
		service.WriteError(w, http.StatusBadRequest, "send {\"author\": …, \"text\": …}: "+err.Error())
		return
	}
	message, err := s.messages.Append(r.Context(), channel, draft.Key, draft.Author, draft.Text)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.written.Add(1)
	service.WriteJSON(w, http.StatusCreated, message)
}

// stream writes a message a line, for as long as client and etcd are there.
func (s *store) stream(w http.ResponseWriter, r *http.Request, channel string) {
	if err := chat.CheckChannel(channel); err != nil {
		s.fail(w, r, err)
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "5")
		service.WriteError(w, http.StatusServiceUnavailable, "too many streams are open")
		return
	}
	s.streams.Add(1)
	defer s.streams.Add(-1)
	out := service.NewStream(w, r, "application/x-ndjson")
	ctx, cancel := service.StreamContext(r)
	lines := make(chan []byte)
	followed := make(chan error, 1)
	go func() {
		followed <- s.messages.Follow(ctx, channel, after(r), func(message chat.Message) error {
			var line bytes.Buffer
			if err := json.NewEncoder(&line).Encode(message); err != nil {
				return err
			}
			select {
			case lines <- line.Bytes():
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() { cancel(); <-followed }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	line := []byte("\n")
	for {
		if _, err := out.Write(line); err != nil {
			return
		}
		select {
		case line = <-lines:
		case <-beat.C:
			line = []byte("\n")
		case <-ctx.Done():
			return
		case err := <-followed:
			followed <- err
			if ctx.Err() == nil {
				s.failures.Add(1)
				s.log.Error("a stream ended", "channel", channel, "error", err)
			}
			return
		}
	}
}

// fail says what is wrong with a request, or that etcd does not answer.
func (s *store) fail(w http.ResponseWriter, r *http.Request, err error) {
	var invalid chat.InvalidError
	if errors.As(err, &invalid) {
		service.WriteError(w, http.StatusBadRequest, invalid.Error())
		return
	}
	if r.Context().Err() != nil {
		return
	}
	s.failures.Add(1)
	s.log.Error("etcd does not answer", "error", err)
	service.WriteError(w, http.StatusServiceUnavailable, "the log does not answer; try again")
}
