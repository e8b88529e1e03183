// Package election lets replicas agree on one leader: who creates a key that is bound to a lease of etcd.
package election

import (
	"context"
	"sync"
	"time"

	"lan-chat/internal/etcd"
)

// Election is one replica's part in it.
type Election struct {
	etcd *etcd.Client
	key  []byte
	name string
	ttl  time.Duration
	hear func(leader string, change bool)

	mu      sync.Mutex
	leader  string    // "" while there is none
	term    int64     // the create revision of the key that was seen last
	seen    int64     // the revision of the store that this is true for
	own     int64     // the term that this replica won last
	fresh   time.Time // until when the own lease is known to be alive
	changed chan struct{}
}

// New returns a part that does nothing yet.
//
// The lease ends `ttl` after its last renewal. `hear` is called for each leader that is seen, "" for none; `change`
// tells that another term had been seen before.
func New(client *etcd.Client, key, name string, ttl time.Duration, hear func(leader string, change bool)) *Election {
	return &Election{
		etcd: client, key: []byte(key), name: name, ttl: ttl, hear: hear, changed: make(chan struct{}, 1),
	}
}

// Leader returns the name of the leader that was seen last, "" if there is none.
func (e *Election) Leader() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// Leads tells whether this replica is the leader, and its lease has not ended by its own clock.
//
// The name alone does not say so: a replica that died and was started again finds the key of its former life.
func (e *Election) Leads() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader != "" && e.term == e.own && time.Now().Before(e.fresh)
}

// Run takes part until the context ends, then resigns, so that others need not wait for the end of the lease.
func (e *Election) Run(ctx context.Context) {
	var observer sync.WaitGroup
	observer.Add(1)
	go func() {
		defer observer.Done()
		e.observe(ctx)
	}()
	lease := e.campaign(ctx)
	observer.Wait()
	if lease != 0 {
		last, cancel := context.WithTimeout(context.Background(), e.ttl)
		defer cancel()
		_ = e.etcd.Revoke(last, lease) // without it the lease ends by itself
	}
}

// campaign keeps a lease alive and creates the key whenever there is none.
func (e *Election) campaign(ctx context.Context) int64 {
	var lease int64
	tick := time.NewTicker(e.ttl / 3)
	defer tick.Stop()
	for {
		lease = e.renewed(ctx, lease)
		if lease != 0 && e.Leader() == "" {
			if found, revision, err := e.etcd.Create(ctx, e.key, []byte(e.name), lease); err == nil {
				e.win(found, lease)
				e.see(string(found.Value), found.CreateRevision, revision)
			}
		}
		select {
		case <-ctx.Done():
			return lease
		case <-tick.C:
		case <-e.changed:
		}
	}
}

func (e *Election) win(found etcd.KV, lease int64) {
	if found.Lease == lease {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.own = found.CreateRevision
	}
}

// renewed returns the lease if it is alive, a new one if it is not, 0 if etcd does not say.
func (e *Election) renewed(ctx context.Context, lease int64) int64 {
	asked := time.Now() // before the call: the lease counts from a moment after it
	if lease != 0 {
		alive, err := e.etcd.KeepAlive(ctx, lease)
		if err != nil {
			return lease
		}
		if alive {
			e.keep(asked)
			return lease
		}
	}
	lease, err := e.etcd.Grant(ctx, e.ttl)
	if err != nil {
		return 0
	}
	e.keep(asked)
	return lease
}

func (e *Election) keep(asked time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fresh = asked.Add(e.ttl)
}

// observe follows the key.
func (e *Election) observe(ctx context.Context) {
	for ctx.Err() == nil {
		found, err := e.etcd.Range(ctx, etcd.RangeRequest{Key: e.key})
		if err == nil {
			revision := found.Header.Revision
			if len(found.KVs) == 0 {
				e.see("", 0, revision)
			} else {
				e.see(string(found.KVs[0].Value), found.KVs[0].CreateRevision, revision)
			}
			_ = e.etcd.Watch(ctx, e.key, nil, revision+1, func(event etcd.Event) error {
				if event.Type == "DELETE" {
					e.see("", 0, event.KV.ModRevision)
				} else {
					e.see(string(event.KV.Value), event.KV.CreateRevision, event.KV.ModRevision)
				}
				return nil
			})
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// see takes note of a leader; term 0 says that there is none.
//
// The two goroutines hear of one key on different ways: what is older than what was seen is ignored.
func (e *Election) see(leader string, term, revision int64) {
	e.mu.Lock()
	if revision < e.seen {
		e.mu.Unlock()
		return
	}
	e.seen = revision
	same := leader == e.leader && (term == 0 || term == e.term)
	change := term != 0 && e.term != 0 && term != e.term
	e.leader = leader
	if term != 0 {
		e.term = term
	}
	e.mu.Unlock()
	if same {
		return
	}
	e.hear(leader, change)
	if leader == "" {
		select {
		case e.changed <- struct{}{}:
		default:
		}
	}
}
