package service

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"sync"
)

// Registry holds metrics, and writes them in Prometheus' text format 0.0.4.
type Registry struct {
	mu      sync.Mutex
	metrics []*Metric
}

// Metric is a counter or a gauge, with one sample for each set of label values.
type Metric struct {
	registry         *Registry
	name, kind, help string
	labels           []string
	samples          map[string]float64
}

// Counter adds a counter. One without labels is there from the start, as 0, so that a rate can be computed of it.
func (r *Registry) Counter(name, help string, labels ...string) *Metric {
	return r.add(name, "counter", help, labels)
}

// Gauge adds a gauge.
func (r *Registry) Gauge(name, help string, labels ...string) *Metric {
	return r.add(name, "gauge", help, labels)
}

func (r *Registry) add(name, kind, help string, labels []string) *Metric {
	metric := &Metric{r, name, kind, help, labels, map[string]float64{}}
	if len(labels) == 0 {
		metric.samples[""] = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics = append(r.metrics, metric)
	return metric
}

// Add adds to the sample with these label values.
func (m *Metric) Add(value float64, labels ...string) {
	key := m.key(labels)
	m.registry.mu.Lock()
	defer m.registry.mu.Unlock()
	m.samples[key] += value
}

// Set replaces the sample with these label values.
func (m *Metric) Set(value float64, labels ...string) {
	key := m.key(labels)
	m.registry.mu.Lock()
	defer m.registry.mu.Unlock()
	m.samples[key] = value
}

// escaped is how label values are written.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m *Metric) key(values []string) string {
	if len(values) != len(m.labels) {
		panic(m.name + ": wrong number of label values")
	}
	pairs := make([]string, len(values))
	for at, value := range values {
		pairs[at] = m.labels[at] + `="` + escaped.Replace(value) + `"`
	}
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// WriteTo writes all metrics.
func (r *Registry) write(out io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, metric := range r.metrics {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric.name, metric.help, metric.name, metric.kind)
		keys := make([]string, 0, len(metric.samples))
		for key := range metric.samples {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			fmt.Fprintf(out, "%s%s %v\n", metric.name, key, metric.samples[key])
		}
	}
}

// ServeHTTP answers Prometheus.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	r.write(w)
}
