package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// bodyLimit bounds the body of every request, in bytes; messages have a lower limit of their own.
	bodyLimit = 256 << 10
	// writeTime is the time that a client has to take what is written to it.
	writeTime = 10 * time.Second
	// drainTime is the time that running requests have at the end.
	drainTime = 10 * time.Second
)

// Service is a program with an address for its users, and one for those who run it.
type Service struct {
	Log     *Logger
	Metrics *Registry
	// Listen is the address of Handler, Admin that of /healthz and /metrics.
	Listen, Admin string
	Handler       http.Handler
	// Health returns what /healthz says, and whether the service works.
	Health func(context.Context) (map[string]any, error)
	// Background, which may be nil, runs until its context ends.
	Background func(context.Context)

	requests, seconds *Metric
}

// Run serves until SIGTERM or SIGINT, then ends in order: no new connections, the running requests, the background.
func (s *Service) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return s.run(ctx)
}

func (s *Service) run(ctx context.Context) error {
	s.requests = s.Metrics.Counter("lan_chat_requests_total", "Requests, by the status of the answer.", "code")
	s.seconds = s.Metrics.Counter("lan_chat_request_seconds_total", "Time that requests took, without streams.")
	admin := http.NewServeMux()
	admin.Handle("/metrics", s.Metrics)
	admin.HandleFunc("/healthz", s.healthz)

	listeners := make([]net.Listener, 0, 2)
	for _, address := range []string{s.Listen, s.Admin} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		defer listener.Close()
		listeners = append(listeners, listener)
	}
	// Streams end with this context, other requests come to their end; Shutdown alone would wait for both.
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	servers := []*http.Server{s.server(streams, s.observed(s.Handler)), s.server(streams, admin)}
	failed := make(chan error, len(servers))
	for at := range servers {
		go func(server *http.Server, listener net.Listener) {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}(servers[at], listeners[at])
	}
	var background sync.WaitGroup
	inside, endBackground := context.WithCancel(context.Background())
	if s.Background != nil {
		background.Add(1)
		go func() {
			defer background.Done()
			s.Background(inside)
		}()
	}
	s.Log.Info("started", "listen", s.Listen, "admin", s.Admin)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.Log.Info("stopping")
	endStreams()
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	for _, server := range servers {
		if late := server.Shutdown(drain); late != nil && err == nil {
			err = fmt.Errorf("requests did not end within %s: %w", drainTime, late)
		}
	}
	endBackground()
	background.Wait()
	s.Log.Info("stopped")
	return err
}

func (s *Service) server(streams context.Context, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stopping{}, streams.Done())
		},
		// WriteTimeout would end streams, so handlers set the time of each write: see Stream.
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connection{}, conn)
		},
	}
}

func (s *Service) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 4*time.Second)
	defer cancel()
	answer, err := s.Health(ctx)
	answer["status"] = "ok"
	status := http.StatusOK
	if err != nil {
		answer["status"], answer["error"] = "failed", err.Error()
		status = http.StatusServiceUnavailable
		s.Log.Error("not healthy", "error", err)
	}
	WriteJSON(w, status, answer)
}

// observed bounds, counts and logs every request, and survives one that panics.
func (s *Service) observed(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		seen := &recorder{ResponseWriter: w}
		extend(r)
		defer func() {
			if fault := recover(); fault != nil {
				s.Log.Error("request failed", "path", r.URL.Path, "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
				if seen.status == 0 {
					WriteError(seen, http.StatusInternalServerError, "internal error")
				}
			}
			if seen.status == 0 {
				seen.status = http.StatusOK
			}
			took := time.Since(began).Seconds()
			s.requests.Add(1, strconv.Itoa(seen.status))
			if !seen.stream {
				s.seconds.Add(took)
			}
			s.Log.Info("request", "method", r.Method, "path", r.URL.Path, "status", seen.status, "seconds", took)
		}()
		handler.ServeHTTP(seen, r)
	})
}

type (
	connection struct{}
	stopping   struct{}
)

// StreamContext returns a context that ends with the request, and when the service stops.
func StreamContext(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	if stops, ok := r.Context().Value(stopping{}).(<-chan struct{}); ok {
		go func() {
			select {
			case <-stops:
			case <-ctx.Done():
			}
			cancel()
		}()
	}
	return ctx, cancel
}

// extend gives the client of a request time for the next write.
func extend(r *http.Request) {
	if conn, ok := r.Context().Value(connection{}).(net.Conn); ok {
		_ = conn.SetWriteDeadline(time.Now().Add(writeTime))
	}
}

type recorder struct {
	http.ResponseWriter
	status int
	stream bool
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Stream is an answer without an end: each write is sent at once, and a client that takes nothing is left.
type Stream struct {
	w http.ResponseWriter
	r *http.Request
}

// NewStream begins the answer.
func NewStream(w http.ResponseWriter, r *http.Request, contentType string) Stream {
	if seen, ok := w.(*recorder); ok {
		seen.stream = true
		w = seen.ResponseWriter
		seen.status = http.StatusOK
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return Stream{w, r}
}

// Write sends a piece.
func (s Stream) Write(piece []byte) (int, error) {
	extend(s.r)
	count, err := s.w.Write(piece)
	if flusher, ok := s.w.(http.Flusher); ok && err == nil {
		flusher.Flush()
	}
	return count, err
}

// WriteJSON answers with a document.
func WriteJSON(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// WriteError answers with a sentence.
func WriteError(w http.ResponseWriter, status int, sentence string) {
	WriteJSON(w, status, map[string]string{"error": sentence})
}

// Main runs a service that `start` makes; `check` as the only argument asks a running one for its health instead.
//
// Images FROM scratch have no curl: their health check is the program itself.
func Main(name, version string, start func(*Config, *Logger) *Service) {
	config := NewConfig(os.Getenv)
	log := NewLogger(os.Stdout, "service", name, "version", version)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "version":
		fmt.Println(version)
		return
	case len(os.Args) == 2 && os.Args[1] == "check":
		if err := check(config); err != nil {
			fmt.Fprintln(os.Stderr, name+": "+err.Error())
			os.Exit(1)
		}
		return
	case len(os.Args) > 1:
		fmt.Fprintf(os.Stderr, "usage: %s [check|version]; everything else is set by environment variables\n", name)
		os.Exit(2)
	}
	service := start(config, log)
	if err := config.Err(); err != nil {
		log.Error("not started", "error", err)
		os.Exit(2)
	}
	if err := service.Run(); err != nil {
		log.Error("ended", "error", err)
		os.Exit(1)
	}
}

func check(config *Config) error {
	address := config.Address("LAN_CHAT_ADMIN_LISTEN", Instance(config))
	if err := config.Err(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(address)
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://127.0.0.1:" + port + "/healthz")
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("/healthz answers " + response.Status)
	}
	return nil
}

// Instance returns the number of this replica on its host, which is added to its ports.
func Instance(config *Config) int {
	return config.Int("LAN_CHAT_INSTANCE", 0, 0, 99)
}
